import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import type { LoweredSegment, Weight } from "@shardserve/onnx";
import { tensor } from "@shardserve/tensor";
import { digesting } from "../src/device/step-digest.js";

const VARIABLE = { kind: "variable", checkpointKey: "w" } as const;

function weightOf(source: Weight["source"], permutation?: readonly number[]): Weight {
  const shape = [4, 4];
  return { name: "w", dtype: "float32", shape, sourceShape: shape, source, permutation } as Weight;
}

/** The digest of a step that is one weight, whose bytes are `bytes` where they lie. */
function digest(weight: Weight, bytes: Uint8Array): string {
  const encoding: LoweredSegment["encoding"] = function* (place) {
    yield;
    return place(weight) as Uint8Array;
  };
  return runAtOnce(digesting({ weights: [weight], encoding }, () => bytes));
}

describe("the digest of a step", () => {
  it("knows a variable by its name and permutation", () => {
    const one = digest(weightOf(VARIABLE), Buffer.from("one"));
    assert.equal(digest(weightOf(VARIABLE), Buffer.from("other")), one);
    assert.notEqual(digest(weightOf(VARIABLE, [1, 0]), Buffer.from("one")), one);
    assert.notEqual(digest(weightOf({ ...VARIABLE, checkpointKey: "v" }), Buffer.from("one")), one);
  });

  it("is not that of a constant, whichever bytes it has", () => {
    const constant = weightOf({ kind: "tensor", tensor: tensor("float32", [0], new Float32Array(0)) });
    const named = digest(weightOf(VARIABLE), new Uint8Array(0));
    const name = JSON.stringify(["w", VARIABLE]);
    for (const bytes of ["", JSON.stringify([VARIABLE, undefined]), name, `[${name}]\0`]) {
      assert.notEqual(digest(constant, Buffer.from(bytes)), named, bytes);
    }
  });
});
