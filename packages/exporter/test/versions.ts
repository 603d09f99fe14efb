import assert from "node:assert/strict";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import {
  DeltaFile,
  epochPath,
  type EpochRef,
  newestEpoch,
  partitionPath,
  PartitionSet,
  readDeltaChain,
  refOf,
  type StoredManifest,
  tablesAt,
} from "@shardserve/rowstore";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf } from "@shardserve/tensor";
import { PendingRows, writeApplied } from "../src/index.js";

/** Elements of a row. */
export const DIM = 4;

/** Writes a SavedModel of two looked-up tables and one dense bias. */
export async function writeModel(dir: string, tables: readonly Float32Array[], bias: number): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const gathered = tables.map((table, i) =>
    graph.gather(graph.variable(`t${i}`, "float32", [table.length / DIM, DIM]), ids, "float32", "int64"),
  );
  const dense = graph.read(graph.variable("bias", "float32", [DIM]), "float32");
  const rows = graph.node("AddN", gathered, { attrs: { T: attr.type("float32"), N: attr.int(gathered.length) } });
  const sum = graph.node("AddV2", [rows, dense], { attrs: { T: attr.type("float32") } });
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { sum: { ref: sum, dtype: "float32", shape: [-1, DIM] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      await writer.add("bias", "float32", [DIM], bytesOf(new Float32Array(DIM).fill(bias)));
      for (const [i, table] of tables.entries()) {
        await writer.add(`t${i}`, "float32", [table.length / DIM, DIM], bytesOf(table));
      }
    },
  });
}

/** Streams the same row to some ids of each table, in place. */
export async function stream(
  version: string,
  base: StoredManifest,
  ids: readonly number[],
  value: number,
  sequence: number,
) {
  const chain = await readDeltaChain(version, base, await newestEpoch(version));
  const last = chain.at(-1);
  const tables = tablesAt(base.manifest.tables, last?.manifest);
  const pending = new PendingRows(tables);
  pending.put(
    tables.map(({ checkpointKey }) => ({
      table: checkpointKey,
      ids: bytesOf(BigInt64Array.from(ids, BigInt)),
      rows: bytesOf(new Float32Array(ids.length * DIM).fill(value)),
    })),
  );
  const parent: EpochRef = last ? refOf(last) : { epoch: 0, digest: base.digest };
  return writeApplied({ versionDir: version, base, parent, tables }, pending, {
    writer: "test",
    createdAtMs: sequence,
    applied: [{ source: "trainer", sequence }],
  });
}

/** Random rows. */
export function tableOf(rows: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: rows * DIM }, () => random.next());
}

/** A copy with some rows changed, and with more rows at its end. */
export function changedCopy(table: Float32Array, ids: readonly number[], added: number): Float32Array {
  const copy = new Float32Array(table.length + added * DIM);
  copy.set(table);
  for (const id of ids) copy.fill(copy[id * DIM]! + 1, id * DIM, (id + 1) * DIM);
  for (let i = table.length; i < copy.length; i++) copy[i] = i;
  return copy;
}

/** All tables at an epoch. */
export async function readAll(versionDir: string, base: StoredManifest, epoch: number): Promise<Float32Array[]> {
  const { tables, partitionCount } = base.manifest;
  const set = new PartitionSet(tables, partitionCount);
  for (let p = 0; p < partitionCount; p++) await set.add(p, join(versionDir, partitionPath(p)));
  for (const stored of await readDeltaChain(versionDir, base, epoch)) {
    await using file = await DeltaFile.open(join(versionDir, epochPath(refOf(stored))), tables);
    set.overlay.begin(stored.manifest.epoch, stored.manifest.tables);
    for (let p = 0; p < partitionCount; p++) await set.overlay.stage(p, file);
  }
  const read: Float32Array[] = [];
  for (const [table, { rowBytes }] of tables.entries()) {
    const ids = BigInt64Array.from({ length: set.overlay.rowsOf(table, epoch) }, (_, id) => BigInt(id));
    const indexes = new BigInt64Array(ids.length);
    assert.equal(set.locate(table, ids, indexes, 0, 0, ids.length, epoch), -1);
    const rows = new Uint8Array(ids.length * rowBytes);
    await set.gather(rowBytes, indexes, 0, ids.length, rows);
    read.push(new Float32Array(rows.buffer));
  }
  await set.close();
  return read;
}
