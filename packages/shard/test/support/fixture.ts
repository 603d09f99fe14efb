import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@shardserve/core";
import { proofExpectation, type ShardDirectory, ShardRows, type ShardRowsOptions } from "@shardserve/lookup";
import { place, type PartitionMap } from "@shardserve/placement";
import { type MapRecord, mapKey, mapRecord, MemoryRegistry, type Registry } from "@shardserve/registry";
import {
  encodeRows,
  type Manifest,
  PartitionFileWriter,
  partitionLayout,
  partitionPath,
  rowsInPartition,
  type RowDType,
  type StoredManifest,
  storedRowBytes,
  type TableInfo,
  readManifest,
  writeManifest,
} from "@shardserve/rowstore";
import { ShardServer, type ShardServerOptions } from "../../src/index.js";

export const CLUSTER = "test";
export const MODEL = "ctr";
export const VERSION = 3;

export function tableOf(key: string, rows: number, dim: number, rowDtype: RowDType = "same"): TableInfo {
  const rowBytes = storedRowBytes(rowDtype, "float32", dim);
  return { name: key, checkpointKey: key, rows, rowShape: [dim], dim, dtype: "float32", rowDtype, rowBytes };
}

/** The value of one element: what a row says of itself, exact in every row dtype's tolerance that tests use. */
export function element(table: number, row: number, i: number): number {
  return table * 1000 + (row % 997) + i / 64;
}

/** Writes a version directory in which every row says which one it is. */
export async function writeVersion(
  repository: string,
  tables: readonly TableInfo[],
  partitionCount: number,
): Promise<StoredManifest> {
  const directory = join(repository, MODEL, String(VERSION));
  await mkdir(join(directory, "partitions"), { recursive: true });
  const layout = partitionLayout(tables, partitionCount);
  const files: Manifest["files"][number][] = [];
  for (let partition = 0; partition < partitionCount; partition++) {
    const path = partitionPath(partition);
    const writer = await PartitionFileWriter.create(join(directory, path), partition, layout);
    for (const { table, rowCount } of layout.sections) {
      const info = tables[table] as TableInfo;
      const held = rowsInPartition(info.rows, partition, partitionCount);
      const rows = new Float32Array(rowCount * info.dim);
      for (let position = 0; position < held; position++) {
        for (let i = 0; i < info.dim; i++) {
          rows[position * info.dim + i] = element(table, position * partitionCount + partition, i);
        }
      }
      const out = new Uint8Array(rowCount * info.rowBytes);
      if (info.rowDtype === "same") out.set(new Uint8Array(rows.buffer));
      else encodeRows(info.rowDtype, rows, rowCount, info.dim, out);
      await writer.append(out);
    }
    files.push({ path, ...(await writer.finish()) });
  }
  const manifest: Manifest = {
    writer: "test",
    sourceDigest: "0".repeat(32),
    partitionCount,
    tables,
    lookups: [],
    files,
  };
  await writeManifest(directory, manifest);
  return (await readManifest(directory)) as StoredManifest;
}

/** Several shards on one registry, all in this process, and row sources that follow a map. */
export class TestCluster implements AsyncDisposable {
  readonly registry: Registry = new MemoryRegistry();
  readonly repository: string;
  readonly stored: StoredManifest;
  readonly shards = new Map<string, ShardServer>();
  readonly #sources: ShardRows[] = [];
  #generation = 0;

  constructor(repository: string, stored: StoredManifest) {
    this.repository = repository;
    this.stored = stored;
  }

  get directory(): ShardDirectory {
    return {
      shard: (id) => {
        const tcp = this.shards.get(id)?.addresses.find((address) => "port" in address);
        if (!tcp || !("port" in tcp)) return undefined;
        return { machine: "other", addresses: { tcp: `${tcp.host}:${tcp.port}` } };
      },
    };
  }

  async startShard(id: string, options: Partial<ShardServerOptions> = {}): Promise<ShardServer> {
    const shard = new ShardServer({
      id,
      cluster: CLUSTER,
      instance: `${id}-1`,
      machine: "here",
      listen: "127.0.0.1:0",
      registry: this.registry,
      repository: this.repository,
      dropAfterMs: 100,
      retryMs: 50,
      ...options,
    });
    await shard.start();
    this.shards.set(id, shard);
    return shard;
  }

  /** A map over the given shards; publishes it for them to load. */
  async publish(shards: readonly string[], replication: number, epoch = 0): Promise<PartitionMap> {
    const map = this.map(shards, replication, epoch);
    await this.put({ enabled: map });
    return map;
  }

  map(shards: readonly string[], replication: number, epoch = 0): PartitionMap {
    const generation = ++this.#generation;
    const nodes = shards.map((id) => ({ id, weight: 1, zone: id }));
    const { partitionCount } = this.stored.manifest;
    return place(nodes, partitionCount, replication, { model: MODEL, version: VERSION, epoch, generation });
  }

  async put(record: MapRecord): Promise<void> {
    await this.registry.txn([], [{ put: mapKey(MODEL, VERSION), value: mapRecord.encode(record) }]);
  }

  /** A row source on a map. */
  async source(map: PartitionMap, options: Partial<ShardRowsOptions> = {}, readyMs = 10_000): Promise<ShardRows> {
    const rows = new ShardRows({
      expectation: proofExpectation(CLUSTER, MODEL, VERSION, this.stored),
      tables: this.stored.manifest.tables,
      partitionCount: this.stored.manifest.partitionCount,
      directory: this.directory,
      machine: "elsewhere",
      peer: "test",
      cacheBytes: 2 ** 20,
      ...options,
    });
    this.#sources.push(rows);
    rows.setMap(map);
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + readyMs });
    return rows;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const source of this.#sources) await source.close();
    for (const shard of this.shards.values()) await shard.close();
    await this.registry.close();
  }
}
