import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { fuseColumns } from "../src/passes/lookups/columns.js";
import { placing } from "../src/plan/place.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { programOf, textOf } from "./text-graph.js";

/** A feature column over a dense input: tf.nn.safe_embedding_lookup_sparse of the words that are present. */
const COLUMN = `
  words = Placeholder() dtype=string shape=[-1,3] fed=true
  none = Const() dtype=string value=string[]:
  table = Variable() dtype=float32 shape=[100,4] checkpointKey=table
  zero = Const() dtype=int32 value=int32[]:0
  least = Const() dtype=int64 value=int64[]:0
  flat = Const() dtype=int32 value=int32[1]:-1
  column = Const() dtype=int32 value=int32[2]:-1,1
  across = Const() dtype=int32 value=int32[2]:1,4
  begin = Const() dtype=int32 value=int32[2]:0,0
  end = Const() dtype=int32 value=int32[2]:0,1
  ones = Const() dtype=int32 value=int32[2]:1,1
  isWord = NotEqual(words, none) T=string incompatible_shape_error=true
  indices = Where(isWord) T=bool
  present = GatherNd(words, indices) Tparams=string Tindices=int64
  shape = Shape(words) T=string out_type=int64
  ids = StringToHashBucketFast(present) num_buckets=100
  isId = GreaterEqual(ids, least) T=int64
  where = Where(isId) T=bool
  kept = Reshape(where, flat) T=int64 Tshape=int32
  keptIndices = GatherV2(indices, kept, zero) Tparams=int64 Tindices=int64 Taxis=int32 batch_dims=0
  keptIds = GatherV2(ids, kept, zero) Tparams=int64 Tindices=int64 Taxis=int32 batch_dims=0
  filled = SparseFillEmptyRows(keptIndices, keptIds, shape, least) T=int64
  rowOf = StridedSlice(filled, begin, end, ones) T=int64 Index=int32 begin_mask=1 end_mask=1 shrink_axis_mask=2 new_axis_mask=0 ellipsis_mask=0
  unique = Unique(filled:1) T=int64 out_idx=int32
  rows = GatherV2(table, unique, zero) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0
  sum = SparseSegmentMean(rows, unique:1, rowOf) T=float32 Tidx=int32
  emptyColumn = Reshape(filled:2, column) T=bool Tshape=int32
  isEmpty = Tile(emptyColumn, across) T=bool Tmultiples=int32
  zeros = ZerosLike(sum) T=float32
  pooled = Select(isEmpty, zeros, sum) T=float32`;

function fused(text: string, outputs = "pooled", shortRows: readonly string[] = ["rows"]): string[] {
  const program = programOf(text, outputs);
  return textOf(runAtOnce(fuseColumns(program, infer(program), KERNELS, new Set(shortRows))).program).filter(
    (line) => !/ = (Const|Placeholder|Variable)\(/.test(line),
  );
}

function edited(from: string, to: string): string {
  assert.ok(COLUMN.includes(from), from);
  return COLUMN.replace(from, to);
}

const KERNELS = fakeKernels("FilledIds PooledLookup PresentElements");

describe("a feature column", () => {
  it("becomes three nodes around what finds its ids", () => {
    assert.deepEqual(fused(COLUMN), [
      "filled = FilledIds(indices, ids, shape, least)",
      "ids = StringToHashBucketFast(indices:1)",
      "indices = PresentElements(words, none)",
      "rows = PooledLookup(table, filled:1, filled, filled:2)",
      "shape = Shape(words)",
    ]);
  });

  it("whose rows are looked up keeps its sum, and selects by rows", () => {
    const lines = fused(COLUMN, "pooled", []);
    assert.ok(lines.includes("pooled = SelectV2(emptyColumn, pooled/zero, sum)"), lines.join("\n"));
    assert.ok(lines.includes("sum = SparseSegmentMean(rows, unique:1, filled)"));
    assert.ok(!lines.some((line) => /Tile|ZerosLike/.test(line)));
  });

  it("of ids that nothing fills is pooled where its segments are int64", () => {
    const plain = edited(
      "sum = SparseSegmentMean(rows, unique:1, rowOf)",
      "sum = SparseSegmentMean(rows, unique:1, segments)",
    )
      .replace("Unique(filled:1)", "Unique(ids)")
      .concat("\n  segments = Placeholder() dtype=int64 shape=[-1] fed=true");
    assert.ok(fused(plain, "sum").includes("rows = PooledLookup(table, ids, segments)"));
    const narrow = plain.replace("segments = Placeholder() dtype=int64", "segments = Placeholder() dtype=int32");
    assert.ok(fused(narrow, "sum").includes("sum = SparseSegmentMean(rows, unique:1, segments)"));
    assert.ok(fused(plain, "sum", []).includes("sum = SparseSegmentMean(rows, unique:1, segments)"));
  });

  it("without a Select, or with readers of the sum, keeps the filled rows", () => {
    assert.ok(fused(COLUMN, "sum").includes("rows = PooledLookup(table, filled:1, filled)"));
    const both = fused(COLUMN, "pooled sum");
    assert.ok(both.includes("rows = PooledLookup(table, filled:1, filled)"), both.join("\n"));
    assert.ok(both.includes("pooled = Select(isEmpty, zeros, rows)"));
  });

  it("with segments that were cast, or rows of the ids as they are, is one too", () => {
    const cast = edited("unique:1, rowOf)", "unique:1, narrow)").concat(
      "\n narrow = Cast(rowOf) SrcT=int64 DstT=int32 Truncate=false",
    );
    assert.ok(fused(cast).includes("rows = PooledLookup(table, filled:1, filled, filled:2)"));
    const direct = edited("GatherV2(table, unique, zero)", "GatherV2(table, filled:1, zero)")
      .replace("unique:1, rowOf)", "positions, rowOf)")
      .concat(`
        one = Const() dtype=int32 value=int32[]:1
        size = Size(filled:1) T=int64 out_type=int32
        positions = Range(zero, size, one) Tidx=int32`);
    assert.ok(fused(direct).includes("rows = PooledLookup(table, filled:1, filled, filled:2)"));
  });

  it("whose ids are not pruned at 0 fills the rows of what it has", () => {
    const lines = fused(edited("GreaterEqual(ids, least)", "Greater(ids, least)"));
    assert.ok(lines.includes("filled = FilledIds(keptIndices, keptIds, shape, least)"), lines.join("\n"));
  });

  for (const [why, text] of [
    ["somebody reads the indices", COLUMN.concat("\n more = Identity(filled) T=int64")],
    ["somebody reads where the entries went", COLUMN.concat("\n more = Identity(filled:3) T=int64")],
    ["another column of the indices is read", edited("value=int32[2]:0,0", "value=int32[2]:0,1")],
  ] as const) {
    it(`stays as it is where ${why}`, () => {
      const outputs = text.includes("more =") ? "pooled more" : "pooled";
      assert.ok(fused(text, outputs).includes("filled = SparseFillEmptyRows(keptIndices, keptIds, shape, least)"));
    });
  }

  it("is not pooled here when its positions are others", () => {
    const lines = fused(edited("Unique(filled:1)", "Unique(ids)"));
    assert.ok(!lines.some((line) => line.includes("PooledLookup")), lines.join("\n"));
  });

  it("of numbers that the engine has anyway keeps its Where", () => {
    const program = programOf(
      `x = Placeholder() dtype=int64 shape=[-1] fed=true
       none = Const() dtype=int64 value=int64[]:-1
       is = NotEqual(x, none) T=int64 incompatible_shape_error=true
       at = Where(is) T=bool
       values = GatherNd(x, at) Tparams=int64 Tindices=int64`,
      "at values",
    );
    assert.equal(runAtOnce(fuseColumns(program, infer(program), KERNELS, new Set())).program, program);
  });

  it("side by side with others is the host's, where it is most of an input layer", () => {
    const layer = (pieces: string, width: number): string | undefined => {
      const program = programOf(
        `ids = Placeholder() dtype=int64 shape=[-1] fed=true
         age = Placeholder() dtype=float32 shape=[-1,1] fed=true
         pay = Placeholder() dtype=float32 shape=[-1,1] fed=true
         table = Variable() dtype=float32 shape=[100,${width}] checkpointKey=table
         axis = Const() dtype=int32 value=int32[]:1
         pooled = PooledLookup(table, ids, ids) combiner=mean
         layer = ConcatV2(${pieces}, axis) T=float32 Tidx=int32 N=${pieces.split(",").length}
         out = Relu(layer) T=float32`,
        "out",
      );
      const kernels = fakeKernels("PooledLookup ConcatV2 Relu");
      return runAtOnce(placing(program, infer(program), kernels, fakeDevice("PooledLookup"))).places.get("layer")
        ?.where;
    };
    assert.equal(layer("pooled, age", 4), "host");
    assert.equal(layer("pooled, age, pay", 4), "device");
    assert.equal(layer("pooled, age", 5000), "device");
  });
});
