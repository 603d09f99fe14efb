import assert from "node:assert/strict";
import type { PlannedLookup, TensorRef } from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import type { TableInfo } from "@shardserve/rowstore";
import { tensor } from "@shardserve/tensor";
import { RowsTally } from "../src/rows-report.js";
import { Run, SlotMap } from "../src/steps/frame.js";
import { BoundLookupStep } from "../src/steps/lookup-step.js";
import { ShuffledRows } from "./shuffled-rows.js";

const ROWS = 3;
const ref = (node: string): TensorRef => ({ node, index: 0 });

function rowsOf(name: string): ShuffledRows {
  const [dim, dtype, rowDtype] = [1, "float32", "same"] as const;
  const table: TableInfo = {
    name,
    checkpointKey: name,
    rows: ROWS,
    rowShape: [dim],
    dim,
    dtype,
    rowDtype,
    rowBytes: 4,
  };
  return new ShuffledRows([table], [tensor("float32", [ROWS, dim], new Float32Array(ROWS))]);
}

function lookupOf(node: string): PlannedLookup {
  const [ids, rows, slots] = [ref(`${node}/ids`), ref(`${node}/rows`), ref(`${node}/slots`)];
  return { node, checkpointKey: node, ids, rowOffset: 0, rowCount: ROWS, rows, slots };
}

describe("a lookup step of several sources", () => {
  before(() => void loadOrt());

  it("leaves nothing held where one fails at once and another answers when the run is over", async () => {
    const before = { ...loadOrt().live };
    const sources = { quick: rowsOf("quick"), slow: rowsOf("slow") };
    let answer!: () => void;
    sources.slow.gate = new Promise((resolve) => (answer = resolve));
    const lookups = [lookupOf("slow"), lookupOf("quick")];
    const slots = new SlotMap();
    const step = new BoundLookupStep({ kind: "lookup", lookups }, slots, ({ node }) => ({
      source: sources[node as keyof typeof sources],
      table: 0,
    }));
    const template = Array.from({ length: slots.size }, () => undefined);
    const rows = new RowsTally();
    const run = new Run(template, {
      signal: undefined,
      deadlineMs: undefined,
      isExplained: false,
      traceParent: undefined,
      epoch: undefined,
      rows,
    });
    run.values[slots.of(ref("slow/ids"))] = tensor("int32", [2], Int32Array.of(0, 1));
    run.values[slots.of(ref("quick/ids"))] = tensor("int32", [1], Int32Array.of(ROWS));

    await assert.rejects(step.run(run), { code: "ROW_OUT_OF_RANGE" });
    run.end();
    answer();
    await new Promise(setImmediate);

    assert.equal(sources.slow.calls, 1);
    assert.equal(sources.slow.leases, 0);
    assert.deepEqual(loadOrt().live, before);
  });
});
