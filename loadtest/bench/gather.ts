import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { allocate } from "@shardserve/native";
import {
  PartitionFileWriter,
  PartitionSet,
  partitionLayout,
  partitionPath,
  RowKernel,
  storedRowBytes,
  type TableInfo,
} from "@shardserve/rowstore";
import { lanesOf } from "@shardserve/tensor";
import { type IdSource, uniformIds, zipfIds } from "../load/ids.js";

export const TABLE_COUNT = 26;
export const DIM = 64;
const ROW_BYTES = DIM * 4;
const PARTITION_COUNT = 61;

/** 26 tables of equal size, 64 float32 a row, `bytes` in all. */
export function benchTables(bytes: number): TableInfo[] {
  const rows = Math.floor(bytes / TABLE_COUNT / ROW_BYTES);
  return Array.from({ length: TABLE_COUNT }, (_, i) => ({
    name: `table_${i}`,
    checkpointKey: `table_${i}`,
    rows,
    rowShape: [DIM],
    dim: DIM,
    dtype: "float32",
    rowDtype: "same",
    rowBytes: storedRowBytes("same", "float32", DIM),
  }));
}

/** Writes the partition files of `tables` with arbitrary rows. @returns digests by partition */
export async function writeBenchPartitions(directory: string, tables: readonly TableInfo[]): Promise<string[]> {
  const layout = partitionLayout(tables, PARTITION_COUNT);
  await mkdir(join(directory, "partitions"), { recursive: true });
  const random = seededRandom(7);
  const noise = Float32Array.from({ length: 2 ** 18 }, () => random.next() - 0.5);
  const chunk = new Uint8Array(noise.buffer);
  const digests: string[] = [];
  for (let partition = 0; partition < PARTITION_COUNT; partition++) {
    const writer = await PartitionFileWriter.create(join(directory, partitionPath(partition)), partition, layout);
    for (const { rowCount, rowBytes } of layout.sections) {
      for (let left = rowCount * rowBytes; left > 0; left -= chunk.length) {
        await writer.append(left < chunk.length ? chunk.subarray(0, left) : chunk);
      }
    }
    digests.push((await writer.finish()).digest);
  }
  return digests;
}

/** Maps all partitions that {@link writeBenchPartitions} wrote. */
export async function openBenchPartitions(directory: string, tables: readonly TableInfo[]): Promise<PartitionSet> {
  const set = new PartitionSet(tables, PARTITION_COUNT, { syncBytesMax: Number.POSITIVE_INFINITY });
  for (let partition = 0; partition < PARTITION_COUNT; partition++) {
    await set.add(partition, join(directory, partitionPath(partition)));
  }
  return set;
}

export interface GatherLine {
  readonly ids: "uniform" | "zipf 0.9";
  readonly batch: number;
  /** Rows/s of locate and gather over the mapped partition files. */
  readonly rowsPerSecond: number;
  /** Rows/s of the same kernel over one anonymous buffer of the same size, row indexes ready. */
  readonly copyRowsPerSecond: number;
  readonly ratio: number;
}

/**
 * In-process gather against C-speed copy: ids of 26 tables to rows in a reply buffer, on one thread's event loop. Both
 * sides take turns, batch by batch, so that a noisy machine slows both.
 */
export function measureGather(
  set: PartitionSet,
  batches: readonly number[],
  options: { readonly rowsPerLine: number } = { rowsPerLine: 4_000_000 },
): GatherLine[] {
  const rows = set.tables[0]!.rows;
  const totalRows = rows * TABLE_COUNT;
  const memory = allocate(totalRows * ROW_BYTES);
  for (let at = 0; at < memory.byteLength; at += 2 ** 28) {
    memory.slice(at, Math.min(2 ** 28, memory.byteLength - at)).fill(1); // pages that exist
  }
  const copyTable = RowKernel.table(memory, totalRows, ROW_BYTES);
  const lines: GatherLine[] = [];
  for (const ids of ["uniform", "zipf 0.9"] as const) {
    const random = seededRandom(11);
    const source = ids === "uniform" ? uniformIds(rows, random) : zipfIds(rows, 0.9, random);
    for (const batch of batches) {
      const line = measureLine(set, copyTable, source, batch, totalRows, Math.ceil(options.rowsPerLine / batch));
      lines.push({ ids, batch, ...line });
    }
  }
  copyTable.dispose();
  memory.free();
  return lines;
}

function measureLine(
  set: PartitionSet,
  copyTable: Parameters<RowKernel["gatherSync"]>[0],
  source: IdSource,
  batch: number,
  totalRows: number,
  rounds: number,
): Omit<GatherLine, "ids" | "batch"> {
  const kernel = RowKernel.shared();
  const perTable = Math.max(1, Math.floor(batch / TABLE_COUNT));
  const count = perTable * TABLE_COUNT;
  const rows = set.tables[0]!.rows;
  const indexes = new BigInt64Array(count);
  const copyIndexes = new BigInt64Array(count);
  const output = new Uint8Array(count * ROW_BYTES);
  const ids = Array.from({ length: TABLE_COUNT }, () => new BigInt64Array(perTable));
  const idLanes = ids.map(lanesOf); // a shard reads them so from the frame
  const gather = () => {
    for (let table = 0; table < TABLE_COUNT; table++) set.locate(table, idLanes[table]!, indexes, table * perTable);
    void set.gather(ROW_BYTES, indexes, 0, count, output);
  };
  const copy = () => kernel.gatherSync(copyTable, copyIndexes, 0, count, output);
  let gatherMs = 0;
  let copyMs = 0;
  for (let round = -Math.ceil(rounds / 10); round < rounds; round++) {
    for (let table = 0; table < TABLE_COUNT; table++) {
      for (let i = 0; i < perTable; i++) {
        ids[table]![i] = BigInt(source());
        copyIndexes[table * perTable + i] = BigInt((table * rows + source()) % totalRows);
      }
    }
    // Whoever goes second finds the output in the cache: take turns.
    const first = round % 2 === 0 ? gather : copy;
    const second = round % 2 === 0 ? copy : gather;
    const startedAt = performance.now();
    first();
    const betweenAt = performance.now();
    second();
    const endedAt = performance.now();
    if (round < 0) continue; // warm-up
    gatherMs += first === gather ? betweenAt - startedAt : endedAt - betweenAt;
    copyMs += first === copy ? betweenAt - startedAt : endedAt - betweenAt;
  }
  const rowsPerSecond = (count * rounds * 1000) / gatherMs;
  const copyRowsPerSecond = (count * rounds * 1000) / copyMs;
  return { rowsPerSecond, copyRowsPerSecond, ratio: rowsPerSecond / copyRowsPerSecond };
}
