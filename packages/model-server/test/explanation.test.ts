import assert from "node:assert/strict";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { GivenRows } from "@shardserve/core";
import type { RowsReport } from "@shardserve/servable";
import { tensor } from "@shardserve/tensor";
import { type ExplanationDocument, RequestExplanation } from "../src/predict/explanation.js";
import { PREDICT, predictRequest, startServer } from "./harness.js";
import { FunctionModel } from "./models.js";

const COUNTS = { cacheRows: 1, shardRows: 2, redisRows: 0, staleRows: 0, defaultRows: 0 };
const REPORT: RowsReport = {
  ...COUNTS,
  epoch: 4,
  tables: [{ table: "t", ...COUNTS }],
  lookups: [
    {
      rows: [
        { table: "t", level: "cache", epoch: 4, ids: [5] },
        { table: "t", level: "shard", shard: "shard-1", epoch: 4, ids: [7, 8] },
      ],
      fetches: [{ from: "shard", shard: "shard-1", rows: 2, startMs: 0.1, durationMs: 1.2345678, outcome: "ok" }],
    },
  ],
};
const x = tensor("float32", [2, 1], Float32Array.of(1, 2));

describe("an explained request", () => {
  /** Rows of each run, and whether it was to explain itself. */
  const runs: [number, boolean][] = [];
  const model = () =>
    new FunctionModel(
      {
        serving_default: {
          inputs: { x: { dtype: "float32", shape: [-1, 1] } },
          outputs: { y: { dtype: "float32", shape: [-1, 1] } },
          run: async (inputs, { isExplained = false }) => {
            runs.push([inputs.get("x")!.shape[0]!, isExplained]);
            await new Promise((resolve) => setTimeout(resolve, 30));
            return { y: inputs.get("x")! };
          },
        },
      },
      REPORT,
    );
  const expected = {
    model: "m",
    version: 1,
    epoch: 4,
    rows: [
      { table: "t", level: "shard", shard: "shard-1", epoch: 4, count: 2, ids: [7, 8] },
      { table: "t", level: "cache", epoch: 4, count: 1, ids: [5] },
    ],
    fetches: [{ from: "shard", shard: "shard-1", rows: 2, startMs: 0.1, durationMs: 1.235, outcome: "ok" }],
  };

  it("runs alone and is told over gRPC; others are joined and told nothing", async () => {
    await using server = await startServer({ m: { 1: model() } }, { batching: { runsMax: 1 } });
    const send = (isExplained: boolean) =>
      new Promise<string | undefined>((resolve, reject) => {
        const metadata = new Metadata();
        if (isExplained) metadata.set("x-shardserve-explain", "true");
        const done = (error: ServiceError | null) => error && reject(error);
        const raw = (bytes: Buffer) => bytes;
        const request = Buffer.from(predictRequest({ x }));
        const call = server.client.makeUnaryRequest(PREDICT, raw, raw, request, metadata, done);
        call.on("status", (status) => resolve(status.metadata.get("x-shardserve-explanation")[0]?.toString()));
      });
    const answers = await Promise.all([send(false), send(true), send(false), send(true), send(false)]);
    assert.deepEqual(
      answers.map((text) => text !== undefined),
      [false, true, false, true, false],
    );
    const { stagesMs, ...rest } = JSON.parse(answers[1]!) as ExplanationDocument;
    assert.deepEqual(rest, expected);
    assert.deepEqual(Object.keys(stagesMs), ["queue", "host", "lookup", "device", "encode"]);
    const explained = runs.filter(([, isExplained]) => isExplained);
    assert.deepEqual(explained, [
      [2, true],
      [2, true],
    ]);
  });

  it("is told over REST and v2", async () => {
    await using server = await startServer({ m: { 1: model() } });
    for (const [path, body] of [
      ["/v1/models/m:predict", { instances: [[1], [2]] }],
      ["/v2/models/m/infer", { inputs: [{ name: "x", datatype: "FP32", shape: [2, 1], data: [1, 2] }] }],
    ] as const) {
      const request = { method: "POST", body: JSON.stringify(body) };
      const headers = { "x-shardserve-explain": "1" };
      const [plain, told] = await Promise.all([
        fetch(server.baseUrl + path, request),
        fetch(server.baseUrl + path, { ...request, headers }),
      ]);
      assert.equal(plain.headers.get("x-shardserve-explanation"), null);
      const { stagesMs, ...rest } = JSON.parse(told.headers.get("x-shardserve-explanation")!) as ExplanationDocument;
      assert.deepEqual([rest, stagesMs["device"]], [expected, 0.3]);
    }
  });

  it("fits into headers, whatever it needed", () => {
    const ids = Array.from({ length: 5000 }, (_, i) => i);
    const many: GivenRows[] = Array.from({ length: 3000 }, (_, i) => ({
      table: `Merkmal größer ${i}`,
      level: "shard",
      shard: `shard-${i % 7}`,
      epoch: 1,
      ids: ids.slice(0, 3000 - i),
    }));
    for (const rows of [[{ ...many[0]!, ids }], many.slice(0, 40), many]) {
      const explanation = new RequestExplanation();
      const timings = { hostMs: 1, lookupMs: 1, deviceMs: 1 };
      const report = { ...REPORT, lookups: [{ rows, fetches: [] }] };
      explanation.ran({ outputs: new Map(), timings, queueMs: 0, report });
      const text = explanation.text({ name: "m", version: 1 });
      const told = JSON.parse(text) as ExplanationDocument;
      assert.match(text, /^[ -~]{1,5120}$/);
      assert.deepEqual([told.rows[0]!.table, told.rows[0]!.count], [rows[0]!.table, rows[0]!.ids.length]);
      assert.equal(told.rows.length + (told.leftOut?.rows ?? 0), rows.length);
    }
  });
});
