import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ApplyRowsReplySchema, ApplyRowsRequestSchema, create, fromBinary, toBinary } from "@shardserve/api";
import { clusterStatus } from "@shardserve/controller";
import { silentLogger } from "@shardserve/core";
import { EtcdRegistry } from "@shardserve/registry";
import { GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { EtcdServer } from "@shardserve/testkit";
import { Client, credentials } from "@grpc/grpc-js";
import { Child, SHARDSERVE } from "./child.js";
import { report } from "./machine.js";
import { step } from "./step.js";

const MODEL = "apply";
const DIM = 16;
const ROW_BYTES = DIM * 4;
const ROWS = 1_000_000;
const BATCH_ROWS = 4096;
/** Batches that are sent ahead of their acknowledgements. */
const AHEAD = 128;
/** For processes on a busy machine to start, in milliseconds. */
const START_LIMIT_MS = 120_000;
/** For what was sent to come into force: above --commit-timeout-seconds of apply, whose error says more. */
const FORCE_LIMIT_MS = 150_000;

/**
 * Rows/s that one trainer streams into force on three shards with two replicas, all on this machine, and the same messages
 * appended to one file with a sync for each: what the disk alone allows.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "20" },
      dir: { type: "string", default: tmpdir() },
      json: { type: "string" },
    },
  });
  const work = await mkdtemp(join(values.dir, "shardserve-bench-apply-"));
  const etcd = await EtcdServer.start();
  const registry = new EtcdRegistry({ hosts: [etcd.host], cluster: MODEL, logger: silentLogger });
  const children: Child[] = [];
  try {
    const repository = join(work, "repository");
    await writeModel(join(work, "source"));
    const out = `--out=${join(repository, MODEL, "1")}`;
    execFileSync(process.execPath, [SHARDSERVE, "shard-export", join(work, "source"), out, "--min-table-bytes=0"]);
    const common = [
      `--etcd=${etcd.host}`,
      `--cluster=${MODEL}`,
      `--model-repository=${repository}`,
      "--listen=127.0.0.1:0",
    ];
    const timing = ["--replication=2", "--min-shards=3", "--settle-seconds=0.2", "--repository-poll-seconds=0.2"];
    for (const id of ["a", "b", "c"])
      children.push(new Child(SHARDSERVE, ["shard", ...common, `--id=${id}`, ...timing]));
    await step("shards enable the version", START_LIMIT_MS, children, () => enabled(registry));
    const front = new Child(SHARDSERVE, ["apply", ...common, "--epoch-seconds=1"]);
    children.push(front);
    const [, address] = await step("apply starts", START_LIMIT_MS, children, () => front.line(/gRPC on (\S+)/));
    const forMs = Number(values.seconds) * 1000;
    const streamed = await step("streamed into force", forMs + FORCE_LIMIT_MS, children, () => stream(address!, forMs));
    const appended = await step("appended", 2 * forMs + START_LIMIT_MS, [], () => append(join(work, "log"), forMs));
    report(
      "apply",
      [
        {
          "rows in force": streamed.batches * BATCH_ROWS,
          epochs: streamed.epochs,
          "rows/s": Math.round((streamed.batches * BATCH_ROWS * 1000) / streamed.ms),
          "synced append rows/s": Math.round(appended.batchesPerMs * BATCH_ROWS * 1000),
          "of the append": Math.round((streamed.batches / streamed.ms / appended.batchesPerMs) * 1000) / 1000,
          "ack p50 s": streamed.ackSeconds(0.5),
          "ack p99 s": streamed.ackSeconds(0.99),
        },
      ],
      values.json,
    );
  } finally {
    for (const child of children) await child[Symbol.asyncDispose]();
    await registry.close();
    await etcd.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

/** Sends batches for so long, and waits until all of them are in force. */
async function stream(address: string, forMs: number) {
  const client = new Client(address, credentials.createInsecure());
  const identity = (bytes: Buffer) => bytes;
  const call = client.makeBidiStreamRequest("/shardserve.v1.UpdateService/ApplyRows", identity, identity);
  const sentMs: number[] = [];
  const ackMs: number[] = [];
  let acked = 0;
  let epochs = 0;
  let wake = () => {};
  const failed = new Promise<never>((_, reject) => call.on("error", reject));
  call.on("data", (bytes: Buffer) => {
    const { sequence, epoch } = fromBinary(ApplyRowsReplySchema, bytes);
    for (; acked < Number(sequence); acked++) ackMs.push(performance.now() - sentMs[acked]!);
    epochs = Number(epoch);
    wake();
  });
  const open = { case: "open", value: { model: MODEL, source: "bench" } } as const;
  call.write(Buffer.from(toBinary(ApplyRowsRequestSchema, create(ApplyRowsRequestSchema, { kind: open }))));
  const startMs = performance.now();
  let sent = 0;
  const more = () => Promise.race([failed, new Promise<void>((resolve) => (wake = resolve))]);
  while (performance.now() - startMs < forMs) {
    if (sent - acked >= AHEAD) await more();
    else {
      sentMs.push(performance.now());
      call.write(message(++sent));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  while (acked < sent) await more();
  const ms = performance.now() - startMs;
  call.end();
  client.close();
  ackMs.sort((a, b) => a - b);
  const ackSeconds = (share: number) => Math.round(ackMs[Math.floor(share * (ackMs.length - 1))]!) / 1000;
  return { batches: sent, epochs, ms, ackSeconds };
}

function message(sequence: number): Buffer {
  const ids = BigInt64Array.from({ length: BATCH_ROWS }, (_, i) => BigInt((sequence * 7919 + i * 97) % ROWS));
  const rows = new Float32Array(BATCH_ROWS * DIM).fill(sequence);
  const tables = [{ table: "table", ids: new Uint8Array(ids.buffer), rows: new Uint8Array(rows.buffer) }];
  const value = { sequence: BigInt(sequence), tables };
  return Buffer.from(
    toBinary(ApplyRowsRequestSchema, create(ApplyRowsRequestSchema, { kind: { case: "batch", value } })),
  );
}

async function enabled(registry: EtcdRegistry): Promise<void> {
  while ((await clusterStatus(registry)).models[0]?.versions[0]?.state !== "enabled")
    await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Appends batches, each synced, for so long: a disk that others write to may take seconds for one. */
async function append(path: string, forMs: number): Promise<{ readonly batchesPerMs: number }> {
  const file = await open(path, "w");
  const startMs = performance.now();
  let batches = 0;
  while (performance.now() - startMs < forMs) {
    await file.write(message(++batches));
    await file.datasync();
  }
  const ms = performance.now() - startMs;
  await file.close();
  return { batchesPerMs: batches / ms };
}

async function writeModel(dir: string): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const ref = graph.gather(graph.variable("table", "float32", [ROWS, DIM]), ids, "float32", "int64");
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { rows: { ref, dtype: "float32", shape: [-1, DIM] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: (writer) => writer.add("table", "float32", [ROWS, DIM], new Uint8Array(ROWS * ROW_BYTES)),
  });
}
