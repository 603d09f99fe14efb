import assert from "node:assert/strict";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { type RowsReport, totalReport } from "@shardserve/servable";
import { tensor } from "@shardserve/tensor";
import { checkDegradedLimit } from "../src/predict/degraded-limit.js";
import { answerEntries } from "../src/predict/report.js";
import { PREDICT, predictRequest, startServer } from "./harness.js";
import { halfPlus } from "./models.js";

const report: RowsReport = {
  cacheRows: 90,
  shardRows: 5,
  redisRows: 1,
  staleRows: 1,
  defaultRows: 3,
  epoch: 0,
  tables: [
    { table: "user/table", cacheRows: 40, shardRows: 5, redisRows: 0, staleRows: 0, defaultRows: 3 },
    { table: "item", cacheRows: 50, shardRows: 0, redisRows: 1, staleRows: 1, defaultRows: 0 },
  ],
};

describe("a caller's limit of degraded rows", () => {
  it("is a count, or a share of the rows", () => {
    for (const enough of [undefined, "4", "100", "4%", "4.5%", "100%"]) checkDegradedLimit(enough, report);
    for (const tooLow of ["0", "3", "3.9%", "0%"]) {
      assert.throws(() => checkDegradedLimit(tooLow, report), {
        code: "ROWS_DEGRADED",
        message: `4 of 100 rows could only be stale or defaults (user/table: 3, item: 1); the caller accepts ${tooLow}`,
      });
    }
    checkDegradedLimit("0", { ...report, staleRows: 0, defaultRows: 0 });
    checkDegradedLimit("0", undefined);
  });

  it("is refused when it is neither", () => {
    for (const wrong of ["", "-1", "0.5", "many", "5%%", "1e3", " 1", "9".repeat(16)]) {
      assert.throws(() => checkDegradedLimit(wrong, undefined), { code: "INVALID_ARGUMENT" }, wrong);
    }
  });

  it("belongs to a report that names the tables, over joined runs too", () => {
    const entries = new Map(answerEntries(undefined, totalReport([report, report])));
    assert.equal(entries.get("x-shardserve-degraded-tables"), "user%2Ftable=6,item=2");
    assert.equal(entries.get("x-shardserve-table-rows"), "user%2Ftable=80/10/0/0/6,item=100/0/2/2/0");
    assert.equal(entries.get("x-shardserve-rows-default"), "6");
    const tables = report.tables.map((rows) => ({ ...rows, staleRows: 0, defaultRows: 0 }));
    assert.equal(new Map(answerEntries(undefined, { ...report, tables })).has("x-shardserve-degraded-tables"), false);
  });

  it("names tables as far as headers have room, and says how many are left out", () => {
    const tables = Array.from({ length: 4096 }, (_, i) => ({ ...report.tables[0]!, table: `features/${i}/weights` }));
    const text = new Map(answerEntries(undefined, { ...report, tables })).get("x-shardserve-table-rows")!;
    const [named, left] = [text.match(/weights=/g)!.length, /,\+(\d+)$/.exec(text)![1]];
    assert.equal(named + Number(left), 4096);
    assert.ok(text.length < 2100 && named > 40, `${text.length} bytes, ${named} tables`);
  });

  it("is taken from metadata and headers", async () => {
    await using server = await startServer({ m: { 1: halfPlus(1, report) } });
    const metadata = new Metadata();
    metadata.set("x-shardserve-max-degraded-rows", "3");
    const bytes = (value: Buffer) => value;
    const request = Buffer.from(predictRequest({ x: tensor("float32", [1], Float32Array.of(1)) }));
    const ask = () =>
      new Promise<ServiceError | null>((resolve) => {
        server.client.makeUnaryRequest(PREDICT, bytes, bytes, request, metadata, {}, resolve);
      });
    const failure = await ask();
    assert.deepEqual([failure?.code, failure?.metadata.get("x-shardserve-error")[0]], [14, "ROWS_DEGRADED"]);
    metadata.set("x-shardserve-max-degraded-rows", "4%");
    assert.equal(await ask(), null);
    for (const [limit, status] of [
      ["1%", 503],
      ["5", 200],
      ["lots", 400],
    ] as const) {
      const reply = await fetch(`${server.baseUrl}/v1/models/m:predict`, {
        method: "POST",
        body: JSON.stringify({ instances: [1] }),
        headers: { "x-shardserve-max-degraded-rows": limit },
      });
      assert.equal(reply.status, status, await reply.text());
      if (status === 200) assert.equal(reply.headers.get("x-shardserve-degraded-tables"), "user%2Ftable=3,item=1");
    }
  });
});
