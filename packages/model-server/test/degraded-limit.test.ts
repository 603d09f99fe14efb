import assert from "node:assert/strict";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { tensor } from "@shardserve/tensor";
import { checkDegradedLimit } from "../src/predict/degraded-limit.js";
import { answerEntries, totalReport } from "../src/predict/report.js";
import { PREDICT, predictRequest, startServer } from "./harness.js";
import { halfPlus } from "./models.js";

const report = {
  cacheRows: 90,
  shardRows: 5,
  redisRows: 1,
  staleRows: 1,
  defaultRows: 3,
  epoch: 0,
  degradedTables: new Map([
    ["user/table", 3],
    ["item", 1],
  ]),
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
    assert.equal(entries.get("x-shardserve-rows-default"), "6");
    const { degradedTables: _, ...whole } = report;
    assert.equal(new Map(answerEntries(undefined, whole)).has("x-shardserve-degraded-tables"), false);
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
