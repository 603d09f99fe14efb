import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { seededRandom } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import type { Model } from "@shardserve/servable";
import { REPO_DIR } from "@shardserve/testkit";
import { closedLoop, openLoop } from "../load/drivers.js";
import { PredictClient } from "../load/predict-client.js";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { dlrmInputs, encodeRequest, halfInputs, type Inputs } from "../models/requests.js";
import { Child, SHARDSERVE } from "./child.js";
import { report } from "./machine.js";
import { round2 } from "./figures.js";

const ECHO_SERVER = fileURLToPath(new URL("./echo-server.js", import.meta.url));
const CONCURRENCY = 16;
const DIM = 64;
const BATCHES = [1, 32, 256];

type Row = Record<string, string | number>;

/**
 * What a request costs beside what cannot be avoided: requests/s of the server against (a) a bare grpc-js server that
 * takes and answers the same bytes and (b) the device segments alone, run one after another on ONNX Runtime in this
 * process. Latencies are those of an open loop at half the throughput.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "4" },
      size: { type: "string", default: "256" },
      json: { type: "string" },
    },
  });
  const durationMs = Number(values.seconds) * 1000;
  const work = mkdtempSync(join(tmpdir(), "shardserve-bench-predict-"));
  const rows: Row[] = [];
  try {
    const halfPlusTwo = join(REPO_DIR, "test/fixtures/models/half-plus-two");
    {
      await using server = new Child(SHARDSERVE, [
        "serve",
        "--model-name=m",
        `--model-base-path=${halfPlusTwo}`,
        "--port=0",
        "--rest-api-port=0",
        "--host=127.0.0.1",
      ]);
      const [, grpc, rest] = await server.line(/gRPC on ([^,]+), REST on (\S+)/);
      const model = await loadModel({ dir: join(halfPlusTwo, "1"), ort: loadOrt() });
      for (const batch of BATCHES)
        rows.push(await measure("half_plus_two", batch, grpc!, rest!, model, [halfInputs(batch)], durationMs));
      await model.close();
    }
    const tables = criteoKaggleRows(Number(values.size) * 2 ** 20, DIM);
    await writeDlrm(join(work, "dlrm/1"), { tables, dim: DIM, seed: 1 });
    const exported = new Child(SHARDSERVE, [
      "shard-export",
      join(work, "dlrm/1"),
      `--out=${join(work, "repository/m/1")}`,
      "--min-table-bytes=1MiB",
    ]);
    await exported.line(/digest/);
    {
      await using cluster = new Child(SHARDSERVE, [
        "up",
        `--model-repository=${join(work, "repository")}`,
        "--shards=2",
        "--replication=1",
        "--port=0",
        "--rest-api-port=0",
        "--host=127.0.0.1",
      ]);
      const [, grpc, rest] = await cluster.line(/gRPC on ([^,]+), REST on (\S+)/);
      await cluster.line(/^ready/);
      const model = await loadModel({ dir: join(work, "dlrm/1"), ort: loadOrt() });
      for (const batch of BATCHES)
        rows.push(await measure("DLRM, 2 shards", batch, grpc!, rest!, model, dlrmInputs(batch, tables), durationMs));
      await model.close();
    }
    report("predict", rows, values.json);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function measure(
  name: string,
  batch: number,
  grpc: string,
  rest: string,
  model: Model,
  inputs: readonly Inputs[],
  durationMs: number,
): Promise<Row> {
  const requests = inputs.map(encodeRequest);
  const client = new PredictClient(grpc);
  const send = (i: number) => client.predict(requests[i % requests.length]!);
  const reply = await client.predict(requests[0]!);
  await closedLoop({ concurrency: CONCURRENCY, durationMs: durationMs / 2, send }); // warms compilers and caches
  const served = await closedLoop({ concurrency: CONCURRENCY, durationMs, send });
  const ratePerS = served.requestsPerS / 2;
  const echoed = await echo(requests, reply.length, ratePerS, durationMs);
  const steady = await openLoop({ ratePerS, durationMs, random: seededRandom(1), send });
  const loopDelayMs = await eventLoopDelayMs(rest);
  client.close();
  const refused = [...served.failures.values(), ...steady.failures.values()].reduce((sum, count) => sum + count, 0);
  const [p50, p99] = steady.latencies.percentiles(0.5, 0.99) as [number, number];
  const alone = await deviceAlone(model, inputs, durationMs / 2);
  return {
    model: name,
    batch,
    "requests/s": Math.round(served.requestsPerS),
    "echo/s": Math.round(echoed.requestsPerS),
    "of echo": round2(served.requestsPerS / echoed.requestsPerS),
    "device alone/s": Math.round(alone),
    "of device": round2(served.requestsPerS / alone),
    "p50 ms": round2(p50),
    "p99 ms": round2(p99),
    "echo p99 ms": round2(echoed.p99Ms),
    refused,
    "loop delay p99 ms": round2(loopDelayMs),
  };
}

/** (a): the bare server, at full speed and then at the rate at which the real one's latencies are taken. */
async function echo(
  requests: readonly Buffer[],
  replyBytes: number,
  ratePerS: number,
  durationMs: number,
): Promise<{ requestsPerS: number; p99Ms: number }> {
  await using server = new Child(ECHO_SERVER, [String(replyBytes)]);
  const [port] = await server.line(/^\d+$/);
  const client = new PredictClient(`127.0.0.1:${port}`);
  const send = (i: number) => client.predict(requests[i % requests.length]!);
  await closedLoop({ concurrency: CONCURRENCY, durationMs: durationMs / 4, send });
  const { requestsPerS } = await closedLoop({ concurrency: CONCURRENCY, durationMs, send });
  const steady = await openLoop({ ratePerS, durationMs, random: seededRandom(1), send });
  client.close();
  return { requestsPerS, p99Ms: steady.latencies.percentiles(0.99)[0]! };
}

/** (b): runs/s of the device segments, from the engine's own stage times. */
async function deviceAlone(model: Model, inputs: readonly Inputs[], durationMs: number): Promise<number> {
  const endMs = performance.now() + durationMs;
  let deviceMs = 0;
  let runs = 0;
  for (let i = 0; performance.now() < endMs; i++) {
    const { timings } = await model.run("serving_default", inputs[i % inputs.length]!, {});
    if (i < 10) continue;
    deviceMs += timings.deviceMs;
    runs++;
  }
  return (1000 * runs) / deviceMs;
}

async function eventLoopDelayMs(rest: string): Promise<number> {
  const text = await (await fetch(`http://${rest}/monitoring/prometheus/metrics`)).text();
  const seconds = /^shardserve_event_loop_delay_seconds\{[^}]*quantile="0.99"[^}]*\} (\S+)/m.exec(text)?.[1];
  return Number(seconds) * 1000;
}
