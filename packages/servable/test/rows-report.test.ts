import assert from "node:assert/strict";
import { type RowsReport, totalReport } from "@shardserve/servable";

const NO_ROWS = { cacheRows: 0, shardRows: 0, redisRows: 0, staleRows: 0, defaultRows: 0 };

function reportOf(epoch: number, tables: Readonly<Record<string, number>>): RowsReport {
  const rows = Object.entries(tables).map(([table, shardRows]) => ({ table, ...NO_ROWS, shardRows }));
  return { ...NO_ROWS, shardRows: rows.reduce((sum, { shardRows }) => sum + shardRows, 0), epoch, tables: rows };
}

describe("the rows of a request that several runs answered", () => {
  it("add up, in all and by table, at the newest epoch; runs without rows change nothing", () => {
    const total = totalReport([reportOf(2, { a: 3, b: 1 }), undefined, reportOf(1, { b: 5 })]);
    assert.deepEqual(total, reportOf(2, { a: 3, b: 6 }));
  });

  it("are explained where any run was, and only there", () => {
    const lookups = [{ rows: [], fetches: [] }];
    const explained = { ...reportOf(1, { a: 1 }), lookups };
    assert.deepEqual(totalReport([reportOf(1, {}), explained])?.lookups, lookups);
    assert.ok(!("lookups" in totalReport([reportOf(1, {}), reportOf(1, {})])!));
  });

  it("are none where no run looked up rows", () => assert.equal(totalReport([undefined, undefined]), undefined));
});
