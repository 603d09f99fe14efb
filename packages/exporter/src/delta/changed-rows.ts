import type { ProgressTask } from "@shardserve/core";
import { loadOrt } from "@shardserve/native";
import { encodeRows, rowsInPartition, type TableInfo } from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";
import type { DeltaPlan } from "./delta-plan.js";
import type { SourceTensors } from "../source/export-source.js";
import { ParentRows } from "./parent-rows.js";
import { RowScatter } from "../export/row-scatter.js";
import { TableSource } from "../source/table-source.js";

/** Rows are compared in chunks of about this many bytes. */
const CHUNK_BYTES = 16 * 2 ** 20;

/** Rows of one table in one partition that the new SavedModel has otherwise, or that its parent has not. */
export interface ChangedPiece {
  readonly table: number;
  readonly partition: number;
  /** Ascending; pieces of one table and partition come in ascending order too. */
  readonly positions: Uint32Array;
  /** Stored rows behind one another; overwritten by the next piece. */
  readonly rows: Uint8Array;
  /** How many of them the parent does not have. */
  readonly added: number;
}

/**
 * Compares the SavedModel's rows with the parent's, in chunks of ids, partition by partition, and hands out those that
 * differ. Equal pieces cost one comparison of memory. A row counts as changed when its stored bytes differ.
 *
 * @throws ServingError CHECKSUM_MISMATCH naming the variable when the SavedModel is damaged
 */
export async function eachChangedPiece(
  plan: DeltaPlan,
  tensors: SourceTensors,
  visit: (piece: ChangedPiece) => Promise<void>,
  options: { readonly progress: ProgressTask; readonly signal?: AbortSignal | undefined; readonly chunkBytes?: number },
): Promise<void> {
  await using parent = await ParentRows.open(plan);
  for (const [table, info] of plan.tables.entries())
    await compareTable(plan, tensors, parent, table, info, visit, options);
}

async function compareTable(
  plan: DeltaPlan,
  tensors: SourceTensors,
  parent: ParentRows,
  table: number,
  info: TableInfo,
  visit: (piece: ChangedPiece) => Promise<void>,
  { progress, signal, chunkBytes = CHUNK_BYTES }: Parameters<typeof eachChangedPiece>[3],
): Promise<void> {
  const { partitionCount } = plan.base.manifest;
  const { rows, rowBytes, dim } = info;
  const sourceRowBytes = dim * DTYPES[info.dtype].bytes;
  const groupBytes = partitionCount * Math.max(sourceRowBytes, rowBytes);
  const groupsMax = Math.max(1, Math.floor(chunkBytes / groupBytes));
  const groupCount = Math.ceil(rows / partitionCount);
  const buffersOf = (bytes: number) => Buffer.allocUnsafeSlow(Math.min(groupsMax, groupCount) * partitionCount * bytes);
  const source = buffersOf(sourceRowBytes);
  const encoded = info.rowDtype === "same" ? source : buffersOf(rowBytes);
  const target = buffersOf(rowBytes);
  const before = Buffer.allocUnsafeSlow(Math.min(groupsMax, groupCount) * rowBytes);
  await using reader = new TableSource(tensors, info.checkpointKey);
  using scatter = new RowScatter(loadOrt(), partitionCount, rowBytes);
  for (let group = 0; group < groupCount; group += groupsMax) {
    signal?.throwIfAborted();
    const groups = Math.min(groupsMax, groupCount - group);
    const count = groups * partitionCount;
    const real = Math.min(count, rows - group * partitionCount);
    source.fill(0, real * sourceRowBytes, count * sourceRowBytes);
    await reader.read(source.subarray(0, real * sourceRowBytes), signal);
    if (info.rowDtype !== "same") {
      const floats = new Float32Array(source.buffer, source.byteOffset, count * dim);
      encodeRows(info.rowDtype, floats, count, dim, encoded);
    }
    const parts = await scatter.scatter(encoded.subarray(0, count * rowBytes), groups, target);
    for (const [partition, part] of parts.entries()) {
      const ours = Math.min(groups, rowsInPartition(rows, partition, partitionCount) - group);
      if (ours <= 0) continue;
      await parent.read(table, partition, group, ours, before);
      const known = rowsInPartition(plan.parentRows[table]!, partition, partitionCount) - group;
      const changed = differences(part, before, rowBytes, Math.max(0, Math.min(ours, known)), ours);
      if (changed.length === 0) continue;
      const bytes = new Uint8Array(changed.length * rowBytes);
      for (const [i, row] of changed.entries())
        bytes.set(part.subarray(row * rowBytes, (row + 1) * rowBytes), i * rowBytes);
      const positions = Uint32Array.from(changed, (row) => group + row);
      await visit({ table, partition, positions, rows: bytes, added: changed.filter((row) => row >= known).length });
    }
    progress.advance(real * sourceRowBytes);
  }
}

/** Rows in [0, end) whose bytes differ, and all of [known, end), ascending. */
function differences(now: Uint8Array, before: Buffer, rowBytes: number, known: number, end: number): number[] {
  const found: number[] = [];
  const view = Buffer.from(now.buffer, now.byteOffset, now.byteLength);
  const search = (from: number, to: number): void => {
    const start = from * rowBytes;
    const stop = to * rowBytes;
    if (from >= to || view.compare(before, start, stop, start, stop) === 0) return;
    if (to - from === 1) {
      found.push(from);
      return;
    }
    const middle = (from + to) >> 1;
    search(from, middle);
    search(middle, to);
  };
  search(0, known);
  for (let row = known; row < end; row++) found.push(row);
  return found;
}
