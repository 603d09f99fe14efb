import assert from "node:assert/strict";
import { infer } from "../src/infer/infer.js";
import { poolRows } from "../src/passes/lookups/pooled-rows.js";
import { programOf, textOf } from "./text-graph.js";

/** Keras's GlobalAveragePooling1D under the mask of an Embedding: the sum of its rows. */
const MASKED = `
  ids = Placeholder() dtype=int64 shape=[-1,-1] fed=true
  others = Placeholder() dtype=int64 shape=[-1,-1] fed=true
  table = Placeholder() dtype=float32 shape=[10,4] fed=true
  zero = Const() dtype=int64 value=int64[]:0
  first = Const() dtype=int32 value=int32[]:0
  one = Const() dtype=int32 value=int32[]:1
  last = Const() dtype=int32 value=int32[]:-1
  rows = GatherV2(table, ids, first) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0
  mask = NotEqual(ids, zero) T=int64
  weights = Cast(mask) SrcT=bool DstT=float32
  column = ExpandDims(weights, last) T=float32 Tdim=int32
  product = Mul(rows, column) T=float32
  sum = Sum(product, one) T=float32 Tidx=int32 keep_dims=false`;

function pooled(text: string): string[] {
  const program = programOf(text, "sum");
  return textOf(poolRows(program, infer(program)));
}

describe("poolRows", () => {
  it("makes a masked sum of gathered rows a product of matrices", () => {
    const lines = pooled(MASKED);
    assert.ok(lines.includes("sum/pooled/weights = ExpandDims(weights, sum/pooled/axis)"), lines.join("\n"));
    assert.ok(lines.includes("sum/pooled/product = BatchMatMulV2(sum/pooled/weights, rows)"));
    assert.ok(lines.includes("sum = Squeeze(sum/pooled/product)"));
    assert.ok(!lines.some((line) => line.includes("Mul(rows")));
    const program = programOf(MASKED, "sum");
    const after = poolRows(program, infer(program));
    assert.deepEqual(infer(after).infos.get("sum"), infer(program).infos.get("sum"));
  });

  it("takes the factors in either order, and the axis from either end", () => {
    const other = MASKED.replace("Mul(rows, column)", "Mul(column, rows)").replace(
      "one = Const() dtype=int32 value=int32[]:1",
      "one = Const() dtype=int32 value=int32[1]:-2",
    );
    assert.ok(pooled(other).includes("sum = Squeeze(sum/pooled/product)"));
  });

  for (const [why, from, to] of [
    ["weights of other ids, whose length of 1 Mul would stretch", "NotEqual(ids", "NotEqual(others"],
    [
      "a sum over another axis",
      "one = Const() dtype=int32 value=int32[]:1",
      "one = Const() dtype=int32 value=int32[]:2",
    ],
    ["a sum that keeps its dimensions", "keep_dims=false", "keep_dims=true"],
    ["a mask that is compared with more than a scalar", "NotEqual(ids, zero)", "NotEqual(ids, others)"],
    ["weights along the rows", "ExpandDims(weights, last)", "ExpandDims(weights, one)"],
  ] as const) {
    it(`leaves alone ${why}`, () => {
      assert.ok(MASKED.includes(from));
      assert.ok(pooled(MASKED.replace(from, to)).some((line) => line.startsWith("sum = Sum(")));
    });
  }
});
