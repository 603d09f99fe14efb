/**
 * `npm run demo`: the main job on this machine, in under three minutes. Writes a DLRM with Criteo-Kaggle's table
 * proportions, inspects and exports it, runs 3 shards with 2 replicas and an executor as processes, asks for predictions
 * over gRPC and REST, compares them with the same model served unsharded, and measures.
 *
 *     npm run demo -- [--etcd] [--size 1GiB] [--keep]
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { create, fromBinary, PredictRequestSchema, PredictResponseSchema, toBinary } from "@shardserve/api";
import { seededRandom } from "@shardserve/core";
import { decodeTensorProto, encodeTensorProto, tensor } from "@shardserve/tensor";
import { EtcdServer } from "@shardserve/testkit";
import { Child, SHARDSERVE } from "./bench/child.js";
import { closedLoop, openLoop } from "./load/drivers.js";
import { zipfIds } from "./load/ids.js";
import { PredictClient } from "./load/predict-client.js";
import { criteoKaggleRows, writeDlrm } from "./models/dlrm.js";

const DIM = 64;
const BATCH = 32;
const SHARDS = 3;
const REPLICATION = 2;
const ZIPF_EXPONENT = 0.9;
/** Distinct requests, made beforehand: about as many as are sent, so that the cache is not flattered by repetition. */
const REQUESTS = 12_000;
/** Of these, so many are compared. */
const COMPARED = 20;

const { values: flags } = parseArgs({
  options: {
    etcd: { type: "boolean", default: false },
    size: { type: "string", default: "1GiB" },
    keep: { type: "boolean", default: false },
  },
});
const match = /^(\d+)(MiB|GiB)$/.exec(flags.size);
if (!match) throw new Error(`--size ${flags.size}: write 512MiB or 1GiB`);
const totalBytes = Number(match[1]) * (match[2] === "GiB" ? 2 ** 30 : 2 ** 20);

const startMs = performance.now();
const work = mkdtempSync(join(tmpdir(), "shardserve-demo-"));
process.once("exit", () => {
  if (!flags.keep) rmSync(work, { recursive: true, force: true });
});
const source = join(work, "models/dlrm/1");
const repository = join(work, "repository");
const tables = criteoKaggleRows(totalBytes, DIM);

heading(`1. a DLRM with 26 tables in Criteo-Kaggle's proportions, ${flags.size}`);
const rows = tables.reduce((sum, count) => sum + count, 0);
await writeDlrm(source, { tables, dim: DIM, seed: 1 });
console.log(`${source}: ${rows.toLocaleString("en-US")} rows of ${DIM} float32`);

heading("2. shardserve inspect");
shardserve("inspect", source);

heading("3. shard-export");
shardserve("shard-export", source, `--out=${join(repository, "dlrm/1")}`);

heading(
  `4. shardserve up: ${SHARDS} shards, ${REPLICATION} replicas, an executor, ${flags.etcd ? "etcd" : "embedded registry"}`,
);
await using etcd = flags.etcd ? await EtcdServer.start() : undefined;
await using cluster = new Child(SHARDSERVE, [
  "up",
  `--model-repository=${repository}`,
  `--shards=${SHARDS}`,
  `--replication=${REPLICATION}`,
  "--port=0",
  "--rest-api-port=0",
  "--host=127.0.0.1",
  ...(etcd ? [`--etcd=${etcd.host}`] : []),
]);
const clusterAt = await ports(cluster, /executor executor-0: gRPC on ([^,]+), REST on (\S+)/);
const [ready] = await cluster.line(/^ready: .*/);
console.log(ready);

heading("5. the same model unsharded, as the reference");
await using single = new Child(SHARDSERVE, [
  "serve",
  "--model-name=dlrm",
  `--model-base-path=${join(work, "models/dlrm")}`,
  "--port=0",
  "--rest-api-port=0",
  "--host=127.0.0.1",
]);
const singleAt = await ports(single, /serving dlrm: gRPC on ([^,]+), REST on (\S+)/);
console.log(`single node: gRPC on ${singleAt.grpc}`);

heading("6. predictions over gRPC and REST, compared bit for bit");
const requests = makeRequests();
const sharded = new PredictClient(clusterAt.grpc);
const unsharded = new PredictClient(singleAt.grpc);
let compared = 0;
for (const { bytes, json } of requests.slice(0, COMPARED)) {
  const [a, b] = await Promise.all([sharded.predict(bytes).then(outputOf), unsharded.predict(bytes).then(outputOf)]);
  if (a.length !== b.length || !a.every((value, i) => Object.is(value, b[i])))
    throw new Error("sharded and unsharded answers differ");
  const overRest = await rest(clusterAt.rest, json);
  if (!overRest.every(([value], i) => Math.fround(value!) === a[i])) throw new Error("gRPC and REST answers differ");
  compared += a.length;
}
console.log(`${compared} predictions are bit-identical to the unsharded model, over gRPC and over REST`);

heading("7. load: batch 32, Zipf 0.9 over scrambled ids");
const send = (client: PredictClient) => (i: number) => client.predict(requests[i % requests.length]!.bytes);
await closedLoop({ concurrency: 8, durationMs: 4000, send: send(sharded) }); // warms caches and compilers
const before = await scrape(clusterAt.rest);
const throughput = await closedLoop({ concurrency: 8, durationMs: 8000, send: send(sharded) });
const reference = await closedLoop({ concurrency: 8, durationMs: 8000, send: send(unsharded) });
const ratePerS = throughput.requestsPerS / 2;
const steady = await openLoop({ ratePerS, durationMs: 10_000, random: seededRandom(2), send: send(sharded) });
const after = await scrape(clusterAt.rest);
const failures = [...throughput.failures, ...reference.failures, ...steady.failures];
if (failures.length > 0)
  throw new Error(`requests failed: ${failures.map(([text, count]) => `${count} x ${text}`).join("; ")}`);

const fetched = (after.get("shard") ?? 0) - (before.get("shard") ?? 0);
const cached = (after.get("cache") ?? 0) - (before.get("cache") ?? 0);
const [p50, p90, p99] = steady.latencies.percentiles(0.5, 0.9, 0.99) as [number, number, number];
const plan = JSON.parse(
  execFileSync(
    process.execPath,
    [SHARDSERVE, "plan", join(repository, "dlrm/1"), `--shards=${SHARDS}`, `--replication=${REPLICATION}`, "--json"],
    { encoding: "utf8" },
  ),
) as {
  shards: { id: string; bytes: number; partitions: number[] }[];
};
heading("result");
console.table(
  Object.fromEntries(
    [
      ...plan.shards.map(({ id, bytes, partitions }) => [
        `bytes on ${id}`,
        `${(bytes / 2 ** 20).toFixed(1)} MiB in ${partitions.length} partitions`,
      ]),
      ["rows fetched from shards", fetched.toLocaleString("en-US")],
      ["row cache hit rate", `${((100 * cached) / Math.max(1, cached + fetched)).toFixed(1)} %`],
      [`requests/s of ${BATCH} rows, sharded`, throughput.requestsPerS.toFixed(0)],
      [`requests/s of ${BATCH} rows, unsharded`, reference.requestsPerS.toFixed(0)],
      [
        `latency at ${ratePerS.toFixed(0)} requests/s`,
        `p50 ${p50.toFixed(2)} ms, p90 ${p90.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
      ],
      ["answers", "bit-identical to the unsharded model"],
    ].map(([what, value]) => [what, { value }]),
  ),
);
sharded.close();
unsharded.close();
console.log(`done in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);

interface Prepared {
  readonly bytes: Buffer;
  /** The same request for REST, of those that are compared. */
  readonly json: string;
}

function makeRequests(): Prepared[] {
  const random = seededRandom(1);
  const sources = tables.map((count) => zipfIds(count, ZIPF_EXPONENT, random));
  return Array.from({ length: REQUESTS }, (_, request) => {
    const dense = Float32Array.from({ length: BATCH * 13 }, () => Math.fround(random.next()));
    const sparse = Array.from({ length: BATCH * tables.length }, (_, i) => sources[i % tables.length]!());
    const message = create(PredictRequestSchema, {
      modelSpec: { name: "dlrm", signatureName: "serving_default" },
      inputs: {
        dense: encodeTensorProto(tensor("float32", [BATCH, 13], dense), { asContent: true }),
        sparse: encodeTensorProto(tensor("int64", [BATCH, tables.length], BigInt64Array.from(sparse, BigInt)), {
          asContent: true,
        }),
      },
    });
    const nested = (values: ArrayLike<number>, width: number) =>
      Array.from({ length: BATCH }, (_, row) => Array.from({ length: width }, (_, i) => values[row * width + i]));
    const json =
      request >= COMPARED
        ? ""
        : JSON.stringify({ inputs: { dense: nested(dense, 13), sparse: nested(sparse, tables.length) } });
    return { bytes: Buffer.from(toBinary(PredictRequestSchema, message)), json };
  });
}

function outputOf(reply: Buffer): Float32Array {
  return decodeTensorProto(fromBinary(PredictResponseSchema, reply).outputs["prediction"]!).data as Float32Array;
}

async function rest(address: string, body: string): Promise<number[][]> {
  const reply = await fetch(`http://${address}/v1/models/dlrm:predict`, { method: "POST", body });
  if (!reply.ok) throw new Error(await reply.text());
  return ((await reply.json()) as { outputs: number[][] }).outputs;
}

/** Rows that the executor found so far, by source. */
async function scrape(address: string): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${address}/monitoring/prometheus/metrics`)).text();
  return new Map(
    [...text.matchAll(/^shardserve_lookup_rows_total\{[^}]*source="(\w+)"[^}]*\} (\S+)/gm)].map(([, source, count]) => [
      source!,
      Number(count),
    ]),
  );
}

async function ports(child: Child, pattern: RegExp): Promise<{ grpc: string; rest: string }> {
  const [, grpc, restAddress] = await child.line(pattern);
  return { grpc: grpc!, rest: restAddress! };
}

function shardserve(...args: string[]): void {
  execFileSync(process.execPath, [SHARDSERVE, ...args], { stdio: "inherit" });
}

function heading(text: string): void {
  console.log(`\n\x1b[1m${text}\x1b[0m  (${((performance.now() - startMs) / 1000).toFixed(0)} s)`);
}
