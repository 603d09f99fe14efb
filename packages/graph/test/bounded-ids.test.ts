import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { fuseColumns } from "../src/passes/lookups/columns.js";
import { fakeKernels } from "./fakes.js";
import { programOf, textOf } from "./text-graph.js";

/** A row of a table of 10 as `flax.linen.Embed` reads it: from the end for an id below 0, NaN for one outside. */
const EMBED = `
  ids = Placeholder() dtype=int32 shape=[-1,3] fed=true
  none = Const() dtype=float32 value=float32[]:NaN
  zero = Const() dtype=int32 value=int32[]:0
  last = Const() dtype=int32 value=int32[1,1,1]:9
  most = Const() dtype=int32 value=int32[]:9
  size = Const() dtype=int32 value=int32[]:10
  axis = Const() dtype=int32 value=int32[]:2
  axes = Const() dtype=int32 value=int32[1]:2
  isLow = Less(ids, zero) T=int32
  moved = AddV2(ids, size) T=int32
  start = SelectV2(isLow, moved, ids) T=int32
  column = ExpandDims(start, axis) T=int32 Tdim=int32
  isHigh = GreaterEqual(column, zero) T=int32
  isBelow = LessEqual(column, last) T=int32
  both = LogicalAnd(isHigh, isBelow)
  within = All(both, axes) keep_dims=false Tidx=int32
  flat = Squeeze(column) T=int32 squeeze_dims=[2]
  low = Minimum(flat, most) T=int32
  clamped = Maximum(low, zero) T=int32
  lookup = Lookup(clamped) checkpointKey=table dtype=float32 rowOffset=0 rowCount=10 rowShape=[4]
  rows = GatherRows(lookup, lookup:1)
  mask = ExpandDims(within, axis) T=bool Tdim=int32
  filled = SelectV2(mask, rows, none) T=float32`;

function fused(text: string, outputs = "filled"): string[] {
  const program = programOf(text, outputs);
  const kernels = fakeKernels("BoundedIds FilledIds PooledLookup PresentElements");
  const found = runAtOnce(fuseColumns(program, infer(program), kernels, new Set())).program;
  return textOf(found).filter((line) => !/ = (Const|Placeholder)\(|Lookup|GatherRows/.test(line));
}

function edited(from: string, to: string): string {
  assert.ok(EMBED.includes(from), from);
  return EMBED.replace(from, to);
}

describe("the ids of a lookup of JAX", () => {
  it("are one node, which says whose rows are NaN", () => {
    assert.deepEqual(fused(EMBED), [
      "clamped = BoundedIds(ids)",
      "filled = SelectV2(mask, rows, none)",
      "mask = ExpandDims(clamped:1, axis)",
    ]);
  });

  it("are one node where none counts from the end, or all rows are as they are", () => {
    assert.ok(fused(edited("ExpandDims(start, axis)", "ExpandDims(ids, axis)")).includes("clamped = BoundedIds(ids)"));
    assert.deepEqual(fused(EMBED, "rows"), ["clamped = BoundedIds(ids)"]);
    assert.deepEqual(fused(edited("Minimum(flat, most)", "Minimum(start, most)"), "rows"), [
      "clamped = BoundedIds(ids)",
    ]);
  });

  for (const [why, from, to, kept] of [
    ["the test is of another bound", "value=int32[1,1,1]:9", "value=int32[1,1,1]:8", "within = All(both, axes)"],
    [
      "another dimension is reduced",
      "axes = Const() dtype=int32 value=int32[1]:2",
      "axes = Const() dtype=int32 value=int32[1]:0",
      "within = All(both, axes)",
    ],
    ["ids above 0 count from the end", "isLow = Less", "isLow = Greater", "start = SelectV2(isLow, moved, ids)"],
    ["other ids are moved", "AddV2(ids, size)", "AddV2(size, size)", "start = SelectV2(isLow, moved, ids)"],
    ["ids begin elsewhere", "Maximum(low, zero)", "Maximum(low, size)", "clamped = Maximum(low, size)"],
  ] as const) {
    it(`keep their ops where ${why}`, () => {
      const lines = fused(edited(from, to));
      assert.ok(lines.includes(kept), lines.join("\n"));
    });
  }

  it("of 64 bits keep their ops", () => {
    const wide = EMBED.replaceAll("dtype=int32 value=int32[]", "dtype=int64 value=int64[]")
      .replaceAll("T=int32", "T=int64")
      .replace("ids = Placeholder() dtype=int32", "ids = Placeholder() dtype=int64")
      .replace("dtype=int32 value=int32[1,1,1]", "dtype=int64 value=int64[1,1,1]")
      .replaceAll("Tdim=int32", "Tdim=int64");
    assert.ok(fused(wide).includes("clamped = Maximum(low, zero)"));
  });
});
