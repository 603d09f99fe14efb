import assert from "node:assert/strict";
import { infer } from "../src/infer/infer.js";
import { dropSparseReshapes } from "../src/passes/rewrites/sparse-reshapes.js";
import { programOf, textOf } from "./text-graph.js";

/** The start of tf.nn.safe_embedding_lookup_sparse, as every embedding column of an Estimator has it. */
const COLUMN = `
  words = Placeholder() dtype=int64 shape=[-1,1] fed=true
  given = Placeholder() dtype=int64 shape=[2] fed=true
  none = Const() dtype=int64 value=int64[]:-1
  isWord = NotEqual(words, none) T=int64
  indices = Where(isWord) T=bool
  shape = Shape(words) T=int64 out_type=int64
  zeros = Const() dtype=int32 value=int32[1]:0
  ones = Const() dtype=int32 value=int32[1]:1
  zero = Const() dtype=int32 value=int32[]:0
  one = Const() dtype=int32 value=int32[]:1
  head = Slice(shape, zeros, ones) T=int64 Index=int32
  rows = Prod(head, zeros) T=int64 Tidx=int32 keep_dims=false
  columns = GatherV2(shape, one, zero) Tparams=int64 Tindices=int32 Taxis=int32 batch_dims=0
  wanted = Pack(rows, columns) N=2 T=int64 axis=0
  reshaped = SparseReshape(indices, shape, wanted)
  read = Identity(reshaped) T=int64
  size = Identity(reshaped:1) T=int64`;

function dropped(text: string): string[] {
  const program = programOf(text, "read size");
  return textOf(dropSparseReshapes(program, infer(program)));
}

describe("a SparseReshape to the shape that the tensor has", () => {
  it("goes, and what computed the shape goes with it", () => {
    const lines = dropped(COLUMN);
    assert.ok(lines.includes("read = Identity(indices)"), lines.join("\n"));
    assert.ok(lines.includes("size = Identity(shape)"));
    assert.ok(!lines.some((line) => /Pack|Prod|SparseReshape/.test(line)));
  });

  it("goes where the shape was sliced another way", () => {
    const strided = COLUMN.replace(
      "Slice(shape, zeros, ones) T=int64 Index=int32",
      "StridedSlice(shape, zeros, ones, ones) T=int64 Index=int32",
    );
    assert.ok(strided.includes("StridedSlice") && dropped(strided).includes("read = Identity(indices)"));
  });

  for (const [why, from, to] of [
    ["the elements in another order", "Pack(rows, columns)", "Pack(columns, rows)"],
    ["a shape of the request, which may be refused", "SparseReshape(indices, shape", "SparseReshape(indices, given"],
    ["a shape that only looks alike", "Prod(head, zeros)", "Prod(given, zeros)"],
    ["a part that was added up", "Slice(shape, zeros, ones)", "Slice(shape, zeros, given)"],
  ] as const) {
    it(`stays with ${why}`, () => {
      assert.ok(COLUMN.includes(from));
      assert.ok(dropped(COLUMN.replace(from, to)).some((line) => line.includes("SparseReshape")));
    });
  }
});
