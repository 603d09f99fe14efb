import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { holdingKey, holdingRecord } from "@shardserve/registry";
import {
  DeltaRowsWriter,
  deltaPath,
  type EpochRef,
  type StoredManifest,
  writeDeltaManifest,
} from "@shardserve/rowstore";
import { eventually, type TempDir, tempDir } from "@shardserve/testkit";
import { MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

const ROW_BYTES = 64;
const TABLES = [tableOf("user", 500, ROW_BYTES / 4)];
const P = 3;
/** Rows of each partition that a delta changes, the first ones; and what they take in memory at least. */
const CHANGED = 64;
const DELTA_BYTES = P * CHANGED * ROW_BYTES;

describe("deltas in a shard's memory", () => {
  let folder: TempDir;
  let stored: StoredManifest;
  const chain: EpochRef[] = [];

  before(async () => {
    folder = await tempDir();
    stored = await writeVersion(folder.path, TABLES, P);
    for (const epoch of [1, 2]) {
      const parent = chain.at(-1) ?? { epoch: 0, digest: stored.digest };
      chain.push(await writeDelta(join(folder.path, MODEL, String(VERSION)), epoch, parent));
    }
  });
  after(() => folder.remove());

  /** Every changed row says the epoch. */
  async function writeDelta(versionDir: string, epoch: number, parent: EpochRef): Promise<EpochRef> {
    const directory = join(versionDir, deltaPath(epoch));
    await mkdir(directory, { recursive: true });
    const sections = [{ table: 0, rowBytes: ROW_BYTES, rowCount: CHANGED }];
    const counts = Array.from({ length: P }, (_, partition) => ({ partition, sections }));
    const writer = await DeltaRowsWriter.create(directory, epoch, P, counts);
    const positions = Uint32Array.from({ length: CHANGED }, (_, i) => i);
    const rows = new Uint8Array(new Float32Array((CHANGED * ROW_BYTES) / 4).fill(epoch).buffer);
    for (let partition = 0; partition < P; partition++) await writer.append(0, partition, positions, rows);
    const segments = await writer.finish();
    await writer.close();
    return writeDeltaManifest(directory, {
      writer: "test",
      epoch,
      baseDigest: stored.digest,
      parent,
      sourceDigest: stored.digest,
      createdAtMs: 0,
      partitionCount: P,
      tables: [{ rows: 500, changed: P * CHANGED }],
      segments,
      files: [],
    });
  }

  /** Element 0 of row 7 as a source on the map in force reads it. */
  const read = async (cluster: TestCluster, epoch: number) => {
    const source = await cluster.source(cluster.map(["s0"], 1, epoch));
    const lease = await source.lookup([{ table: 0, ids: BigInt64Array.of(7n) }]);
    const batch = lease.batches[0];
    const value = batch?.rows.view<"float32">()[((batch.slots[0] as number) * ROW_BYTES) / 4];
    lease.release();
    return value;
  };

  it("are refused above the limit by bytes, limit and flag; the epoch in force goes on and is served after a restart too", async () => {
    await using cluster = new TestCluster(folder.path, stored);
    const holding = async () => {
      const entry = await cluster.registry.get(holdingKey("s0", MODEL, VERSION));
      return entry && holdingRecord.decode(entry.value, entry.key);
    };
    const options = { deltaBytesMax: 1.5 * DELTA_BYTES };
    const shard = await cluster.startShard("s0", options);
    await cluster.publish(["s0"], 1);
    await eventually(async () => (await holding())?.partitions.length === P, { timeoutMs: 20_000 });
    await cluster.put({ enabled: cluster.map(["s0"], 1, 0), epochs: { chain: chain.slice(0, 1), oldest: 0 } });
    await eventually(async () => (await holding())?.epoch === 1, { timeoutMs: 20_000 });

    await cluster.put({ enabled: cluster.map(["s0"], 1, 1), epochs: { chain, oldest: 0 } });
    await eventually(async () => (await holding())?.error !== undefined, { timeoutMs: 20_000 });
    const { error, epoch, isDeltaError } = (await holding()) ?? {};
    assert.deepEqual([epoch, isDeltaError], [1, true]);
    assert.equal(error?.code, "RESOURCE_EXHAUSTED");
    assert.match(
      error?.message ?? "",
      /^ctr\/3 epoch 2: its \d+ bytes and the \d+ of deltas in memory are more than the 18432 of --delta-bytes/,
    );
    assert.equal(await read(cluster, 1), 1);

    // What is in force already is served, also by a shard that starts with a lower limit.
    await shard.close({ drainMs: 0 });
    await cluster.startShard("s0", { deltaBytesMax: 1, instance: "s0-2" });
    await eventually(async () => (await holding())?.instance === "s0-2" && (await holding())?.epoch === 1, {
      timeoutMs: 20_000,
    });
    assert.equal(await read(cluster, 1), 1);
  });

  it("are taken where they fit", async () => {
    await using cluster = new TestCluster(folder.path, stored);
    await cluster.startShard("s0", { deltaBytesMax: 4 * DELTA_BYTES });
    await cluster.put({ enabled: cluster.map(["s0"], 1, 0), epochs: { chain, oldest: 0 } });
    await eventually(
      async () => {
        const entry = await cluster.registry.get(holdingKey("s0", MODEL, VERSION));
        return entry !== undefined && holdingRecord.decode(entry.value, entry.key).epoch === 2;
      },
      { timeoutMs: 20_000 },
    );
  });
});
