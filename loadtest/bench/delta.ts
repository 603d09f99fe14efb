import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clusterStatus } from "@shardserve/controller";
import { silentLogger } from "@shardserve/core";
import type { DeltaReport } from "@shardserve/exporter";
import { EtcdRegistry, rollbackKey, rollbackRecord } from "@shardserve/registry";
import { GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { EtcdServer } from "@shardserve/testkit";
import { Child, SHARDSERVE } from "./child.js";
import { report } from "./machine.js";
import { round2 } from "./figures.js";

const MODEL = "delta";
const DIM = 16;
const ROW_BYTES = DIM * 4;
const REPLICATION = 2;
const POLL_MS = 5;

/**
 * A delta over part of the rows of a large model, on three shards with two replicas: how long its export takes, when every
 * shard answers at it, what it costs in bytes against its own rows, and how long the way back takes.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      mib: { type: "string", default: "1024" },
      changed: { type: "string", default: "0.01" },
      runs: { type: "string", default: "3" },
      dir: { type: "string", default: tmpdir() },
      copies: { type: "boolean", default: false }, // each shard has a --data-dir
      json: { type: "string" },
    },
  });
  const rowCount = Math.floor((Number(values.mib) * 2 ** 20) / ROW_BYTES);
  const work = await mkdtemp(join(values.dir, "shardserve-bench-delta-"));
  const etcd = await EtcdServer.start();
  const registry = new EtcdRegistry({ hosts: [etcd.host], cluster: MODEL, logger: silentLogger });
  const shards: Child[] = [];
  try {
    const repository = join(work, "repository");
    const version = join(repository, MODEL, "1");
    console.log(`writing and exporting ${values.mib} MiB of rows`);
    await writeModel(join(work, "source"), rowCount, 0, 0);
    run("shard-export", join(work, "source"), `--out=${version}`, "--min-table-bytes=0");
    for (const id of ["a", "b", "c"]) {
      shards.push(
        new Child(SHARDSERVE, [
          "shard",
          `--etcd=${etcd.host}`,
          `--cluster=${MODEL}`,
          `--id=${id}`,
          "--listen=127.0.0.1:0",
          "--metrics-port=0",
          `--model-repository=${repository}`,
          `--replication=${REPLICATION}`,
          "--min-shards=3",
          "--settle-seconds=0.2",
          ...(values.copies ? [`--data-dir=${join(work, "copies", id)}`] : []),
        ]),
      );
    }
    const ports = await Promise.all(shards.map(async (child) => (await child.line(/metrics on port (\d+)/))[1]));
    const epochInForce = async () => (await clusterStatus(registry)).models[0]?.versions[0];
    await until(async () => (await epochInForce())?.state === "enabled");
    const rows: Record<string, string | number>[] = [];
    for (let epoch = 1; epoch <= Number(values.runs); epoch++) {
      rmSync(join(work, "source"), { recursive: true });
      await writeModel(join(work, "source"), rowCount, epoch, Number(values.changed));
      const wire = () => (values.copies ? copiedBytes(ports) : readBytes(shards));
      const wireBefore = await wire();
      const exportMs = performance.now();
      const delta = JSON.parse(run("shard-export", join(work, "source"), `--base=${version}`, "--json")) as DeltaReport;
      const doneMs = performance.now();
      await until(async () => (await epochInForce())?.epoch === epoch);
      const visibleMs = performance.now();
      const wireBytes = (await wire()) - wireBefore;
      const ownBytes = delta.tables.reduce((sum, { bytes }) => sum + bytes, 0);
      const overlayBytes = await sumOver(ports, "shardserve_shard_overlay_bytes");
      const overlayRows = await sumOver(ports, "shardserve_shard_overlay_rows");
      const backMs = performance.now();
      await registry.txn([], [{ put: rollbackKey(MODEL, 1), value: rollbackRecord.encode({ rejected: [epoch] }) }]);
      await until(async () => (await epochInForce())?.epoch === epoch - 1);
      const rolledMs = performance.now();
      await registry.txn([], [{ delete: rollbackKey(MODEL, 1) }]);
      await until(async () => (await epochInForce())?.epoch === epoch);
      rows.push({
        epoch,
        rows: delta.tables.reduce((sum, { changed }) => sum + changed, 0),
        "delta MiB": round2(ownBytes / 2 ** 20),
        "export s": round2((doneMs - exportMs) / 1000),
        "visible s after export": round2((visibleMs - doneMs) / 1000),
        "rolled back s": round2((rolledMs - backMs) / 1000),
        "file / own bytes": round2(delta.rowsFileBytes / ownBytes),
        "wire / own bytes of all replicas": round2(wireBytes / (REPLICATION * ownBytes)),
        "memory / own bytes": round2(overlayBytes / (overlayRows * ROW_BYTES)),
      });
    }
    report("delta", rows, values.json);
  } finally {
    for (const child of shards) await child[Symbol.asyncDispose]();
    await registry.close();
    await etcd.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

/** One table; every epoch changes the same share of rows, others each time. */
async function writeModel(dir: string, rowCount: number, epoch: number, share: number): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const ref = graph.gather(graph.variable("table", "float32", [rowCount, DIM]), ids, "float32", "int64");
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { rows: { ref, dtype: "float32", shape: [-1, DIM] } },
  );
  const every = Math.round(1 / share);
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      await writer.add("table", "float32", [rowCount, DIM], chunks(rowCount, epoch, every));
    },
  });
}

function* chunks(rowCount: number, epoch: number, every: number): Generator<Uint8Array> {
  const chunkRows = 65_536;
  for (let first = 0; first < rowCount; first += chunkRows) {
    const rows = new Float32Array(Math.min(chunkRows, rowCount - first) * DIM);
    for (let i = 0; i < rows.length; i += DIM) {
      const id = first + i / DIM;
      const turn = id % every; // of each row: the epoch that changes it
      rows.fill((id % 2 ** 20) + (turn >= 1 && turn <= epoch ? 0.5 : 0), i, i + DIM);
    }
    yield new Uint8Array(rows.buffer);
  }
}

function run(...args: readonly string[]): string {
  return execFileSync(process.execPath, [SHARDSERVE, ...args], { encoding: "utf8", maxBuffer: 2 ** 28 });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 300_000;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error("the cluster did not get there in five minutes");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** What shards copied to their disks. */
function copiedBytes(ports: readonly (string | undefined)[]): Promise<number> {
  return sumOver(ports, "shardserve_shard_copied_bytes_total");
}

/** What processes read from files and sockets: where there are no copies, the repository is among them. */
function readBytes(processes: readonly Child[]): Promise<number> {
  const read = ({ process: { pid } }: Child) =>
    Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? 0);
  return Promise.resolve(processes.reduce((sum, child) => sum + read(child), 0));
}

async function sumOver(ports: readonly (string | undefined)[], metric: string): Promise<number> {
  let sum = 0;
  for (const port of ports) {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    for (const [, value] of text.matchAll(new RegExp(`^${metric}\\{.*\\} ([\\d.e+]+)$`, "gm"))) sum += Number(value);
  }
  return sum;
}
