import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { findVariableUses } from "../src/passes/lookups/lookups.js";
import { findShortRows } from "../src/plan/short-rows.js";
import { programOf } from "./text-graph.js";

const COLUMN = `
  ids = Placeholder() dtype=int64 shape=[-1] fed=true
  positions = Placeholder() dtype=int32 shape=[-1] fed=true
  segments = Placeholder() dtype=int32 shape=[-1] fed=true
  table = Variable() dtype=float32 shape=[100,4] checkpointKey=table
  other = Variable() dtype=float32 shape=[100,4] checkpointKey=other
  zero = Const() dtype=int32 value=int32[]:0
  rows = GatherV2(table, ids, zero) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0
  mean = SparseSegmentMean(rows, positions, segments) T=float32 Tidx=int32
  again = GatherV2(other, ids, zero) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0
  sum = SparseSegmentSum(again, positions, segments) T=float32 Tidx=int32
  plain = GatherV2(other, ids, zero) Tparams=float32 Tindices=int64 Taxis=int32 batch_dims=0`;

function shortNodes(text: string, outputs: string, isHosts = true): string[] {
  const program = programOf(text, outputs);
  const { lookups } = findVariableUses(program, infer(program));
  return [...runAtOnce(findShortRows(program, lookups, () => isHosts)).nodes].sort();
}

describe("short rows of small tables", () => {
  it("are pooled where their ids are found, unless the table has lookups of another kind", () => {
    assert.deepEqual(shortNodes(COLUMN, "mean sum plain"), ["mean", "rows"]);
    assert.deepEqual(shortNodes(COLUMN, "mean sum"), ["again", "mean", "rows", "sum"]);
  });

  it("are looked up where somebody else reads them, or the ids are not the host's", () => {
    assert.deepEqual(shortNodes(COLUMN, "mean rows"), []);
    assert.deepEqual(shortNodes(COLUMN, "mean", false), []);
  });

  it("are looked up where rows or table are large", () => {
    const wide = COLUMN.replace("shape=[100,4] checkpointKey=table", "shape=[100,65] checkpointKey=table");
    assert.deepEqual(shortNodes(wide, "mean"), []);
    const long = COLUMN.replace("shape=[100,4] checkpointKey=table", "shape=[600000,4] checkpointKey=table");
    assert.deepEqual(shortNodes(long, "mean"), []);
  });
});
