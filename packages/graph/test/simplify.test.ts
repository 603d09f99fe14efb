import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { simplify } from "../src/passes/rewrites/simplify.js";
import { programOf, textOf } from "./text-graph.js";

/** The graph that is left of `text`, of which `outputs` are wanted, by node names. */
function left(text: string, outputs: string): string[] {
  const program = programOf(text, outputs);
  const simplified = runAtOnce(simplify(program, infer(program)));
  assert.equal(simplified === program, textOf(simplified).join() === textOf(program).join());
  return [...simplified.graph.keys()].sort();
}

const IDS = `ids = Placeholder() dtype=int32 shape=[-1]
  axis = Const() value=int32[1]:0
  largest = Max(ids, axis) T=int32
  n = Placeholder() dtype=int32 shape=[]`;

describe("simplify", () => {
  it("takes min(n, max(n, x)) for n, whichever way the operands stand", () => {
    const bounds = `low = Maximum(largest, n) T=int32
      size = Minimum(n, low) T=int32
      out = Neg(size) T=int32`;
    assert.deepEqual(left(`${IDS}\n${bounds}`, "out"), ["n", "out"]);
  });

  it("takes the lesser constant where it is the upper bound", () => {
    const bounds = `low = Maximum(five, largest) T=int32
      size = Minimum(low, three) T=int32
      out = Neg(size) T=int32`;
    const constants = "three = Const() value=int32[]:3\nfive = Const() value=int32[]:5";
    assert.deepEqual(left(`${IDS}\n${constants}\n${bounds}`, "out"), ["out", "three"]);
    const swapped = bounds.replace("five", "three").replace("low, three", "low, five");
    assert.ok(left(`${IDS}\n${constants}\n${swapped}`, "out").includes("largest"), "3 to 5 leaves room for 4");
  });

  it("leaves bounds of floats, which NaN passes, and bounds that broadcast", () => {
    const floats = `x = Placeholder() dtype=float32 shape=[]
      f = Placeholder() dtype=float32 shape=[]
      low = Maximum(f, x) T=float32
      out = Minimum(f, low) T=float32`;
    assert.deepEqual(left(floats, "out"), ["f", "low", "out", "x"]);
    const wide = `${IDS}
      low = Maximum(n, ids) T=int32
      out = Minimum(n, low) T=int32`;
    assert.deepEqual(left(wide, "out"), ["axis", "ids", "largest", "low", "n", "out"]);
  });

  it("drops a dimension of one that is put in and taken out again", () => {
    const expanded = `x = Placeholder() dtype=float32 shape=[-1,4]
      axis = Const() value=int32[]:1
      wide = ExpandDims(x, axis) T=float32 Tdim=int32`;
    const squeezed = (axes: string) => `${expanded}
      same = Squeeze(wide) T=float32 squeeze_dims=${axes}
      out = Neg(same) T=float32`;
    assert.deepEqual(left(squeezed("[1]"), "out"), ["out", "x"]);
    assert.ok(left(squeezed("[0]"), "out").includes("wide"), "that is a batch of one");
    assert.ok(left(squeezed("[]"), "out").includes("wide"), "that takes out whatever is one");
    const reshaped = (shape: string) => `${expanded}
      shape = Const() value=int32[2]:${shape}
      same = Reshape(wide, shape) T=float32 Tshape=int32
      out = Neg(same) T=float32`;
    assert.deepEqual(left(reshaped("-1,4"), "out"), ["out", "x"]);
    assert.ok(left(reshaped("-1,2"), "out").includes("same"));
  });

  for (const [dims, wanted, isKept] of [
    ["[-1,4]", "int32[2]:-1,4", false],
    ["[3,4]", "int32[2]:-1,4", false],
    ["[3,4]", "int32[2]:3,4", false],
    ["[-1,-1]", "int32[2]:-1,-1", true],
    ["[-1,4]", "int32[2]:3,4", true],
    ["[-1,4]", "int32[2]:4,-1", true],
    ["[-1,0]", "int32[2]:-1,0", true],
    ["[-1,4]", "int32[1]:-1", true],
  ] as const) {
    it(`${isKept ? "keeps" : "drops"} a Reshape of ${dims} to ${wanted}`, () => {
      const text = `x = Placeholder() dtype=float32 shape=${dims}
        shape = Const() value=${wanted}
        reshaped = Reshape(x, shape) T=float32 Tshape=int32
        out = Neg(reshaped) T=float32`;
      assert.deepEqual(left(text, "out"), isKept ? ["out", "reshaped", "shape", "x"] : ["out", "x"]);
    });
  }
});
