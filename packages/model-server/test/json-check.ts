import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import type { SignatureInfo } from "@shardserve/servable";
import type { StringColumn, Tensor } from "@shardserve/tensor";
import { indexJson, type JsonDocument } from "../src/json/document.js";
import { readPredictBody, rootObject } from "../src/json/predict-body.js";
import { member, parseTree, tensorOf } from "./json-twin.js";

type TwinDType = "float32" | "int64" | "string";

export function drain<T>(slices: Generator<undefined, T>): T {
  for (;;) {
    const slice = slices.next();
    if (slice.done) return slice.value;
  }
}

function indexed(bytes: Buffer): JsonDocument | undefined {
  try {
    return drain(indexJson(bytes, () => undefined));
  } catch (error) {
    assert.ok(error instanceof ServingError, String(error));
    assert.match(error.message, /^JSON Parse error: .* at offset: \d+$|^JSON Parse error: The document is empty$/);
    return undefined;
  }
}

function signature(dtype: TwinDType): SignatureInfo {
  const x = { name: "x", dtype, shape: undefined, tensorName: "x:0" };
  return { name: "s", method: "", inputs: new Map([["x", x]]), outputs: new Map(), defaults: new Map() };
}

function plain(value: Tensor): { shape: number[]; values: unknown[] } {
  const data = value.data as StringColumn | Float32Array | BigInt64Array;
  const values: unknown[] =
    "offsets" in data
      ? Array.from({ length: data.length }, (_, i) => Buffer.from(data.at(i)).toString("hex"))
      : Array.from(data as Float32Array);
  return { shape: [...value.shape], values };
}

/** Compares the reader with the twin on one body. */
export function checkBody(bytes: Buffer, dtype: TwinDType): void {
  const document = indexed(bytes);
  const tree = parseTree(bytes);
  assert.equal(
    document !== undefined,
    tree !== undefined,
    `the parsers disagree on ${JSON.stringify(bytes.toString())}`,
  );
  if (!document || tree?.kind !== "object") return;
  const instances = member(tree, "instances");
  const inputs = member(tree, "inputs");
  let mine: ReturnType<typeof plain> | "error" = "error";
  try {
    const body = drain(readPredictBody(document, rootObject(document), signature(dtype)));
    const value = body.inputs.get("x");
    if (value) mine = plain(value);
  } catch (error) {
    assert.ok(error instanceof ServingError, (error as Error).stack);
  }
  if (inputs && !instances) {
    const isNamed =
      inputs.kind === "object" && !(inputs.members.length === 1 && member(inputs, "b64")?.kind === "string");
    const named = isNamed ? member(inputs, "x") : inputs;
    assert.deepEqual(mine, named ? tensorOf(named, dtype) : "error", bytes.toString());
  } else if (!instances || inputs) assert.equal(mine, "error");
  else if (
    instances.kind === "list" &&
    instances.items.length > 0 &&
    instances.items.every((item) => item.kind !== "object")
  ) {
    const whole = tensorOf(instances, dtype);
    assert.deepEqual(mine, whole, bytes.toString());
  }
}
