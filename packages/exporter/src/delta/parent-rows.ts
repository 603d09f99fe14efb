import { type FileHandle, open } from "node:fs/promises";
import { readAt } from "@shardserve/core";
import { join } from "node:path";
import {
  DeltaFile,
  epochPath,
  type OpenSegment,
  type PartitionLayout,
  partitionLayout,
  partitionPath,
  refOf,
  type Section,
} from "@shardserve/rowstore";
import type { DeltaPlan } from "./delta-plan.js";

/** The changed rows of one table and partition in one delta, read in ascending order of position. */
interface Cursor {
  readonly file: DeltaFile;
  /** Offsets in the rows file. */
  readonly positionsAt: number;
  readonly rowsAt: number;
  readonly rowCount: number;
  next: number;
}

/** A section of a segment, without its positions: those are read again as they are needed. */
interface StoredSection extends Omit<Cursor, "next"> {
  readonly table: number;
  readonly partition: number;
}

/**
 * The rows of the epoch that a delta is made against, stored bytes, read piece by piece in ascending order: partition
 * files, patched with the deltas before. Memory does not depend on the number of rows.
 */
export class ParentRows implements AsyncDisposable {
  readonly #layout: PartitionLayout;
  readonly #files: FileHandle[] = [];
  readonly #deltas: DeltaFile[] = [];
  readonly #sections: StoredSection[] = [];
  #table = -1;
  /** Of the table being read, by partition. */
  #cursors = new Map<number, Cursor[]>();

  private constructor(layout: PartitionLayout) {
    this.#layout = layout;
  }

  static async open({ versionDir, base, chain }: DeltaPlan): Promise<ParentRows> {
    const { tables, partitionCount } = base.manifest;
    const rows = new ParentRows(partitionLayout(tables, partitionCount));
    try {
      for (let partition = 0; partition < partitionCount; partition++) {
        rows.#files.push(await open(join(versionDir, partitionPath(partition))));
      }
      for (const stored of chain) {
        const delta = await DeltaFile.open(join(versionDir, epochPath(refOf(stored))), tables);
        rows.#deltas.push(delta);
        for (const partition of delta.partitions)
          rows.#remember(delta, (await delta.segment(partition)) as OpenSegment);
      }
    } catch (error) {
      await rows[Symbol.asyncDispose]();
      throw error;
    }
    return rows;
  }

  /**
   * Reads the rows at positions [first, first + count) of a table in a partition. Positions behind the file's last row
   * read as zeros unless a delta has them. Tables, and positions of a table and partition, come in ascending order.
   */
  async read(table: number, partition: number, first: number, count: number, into: Uint8Array): Promise<void> {
    if (table !== this.#table) this.#turnTo(table);
    const { rowBytes, rowCount, offset } = this.#section(table);
    const inFile = Math.max(0, Math.min(count, rowCount - first));
    const bytes = inFile * rowBytes;
    into.fill(0, bytes, count * rowBytes);
    const start = offset + first * rowBytes;
    const read = await readAt(this.#files[partition]!, into.subarray(0, bytes), start);
    if (read < bytes) throw new Error(`the file of partition ${partition} ends at ${start + read}`);
    for (const cursor of this.#cursors.get(partition) ?? []) await patch(cursor, rowBytes, first, first + count, into);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#files) await file.close();
    for (const delta of this.#deltas) await delta[Symbol.asyncDispose]();
  }

  #section(table: number): Section {
    return this.#layout.sections.find((section) => section.table === table) as Section;
  }

  #remember(file: DeltaFile, { segment, layout }: OpenSegment): void {
    layout.sections.forEach(({ table, rowCount }, i) => {
      this.#sections.push({
        file,
        table,
        partition: segment.partition,
        positionsAt: segment.offset + layout.positionOffsets[i]!,
        rowsAt: segment.offset + layout.headBytes + layout.rowOffsets[i]!,
        rowCount,
      });
    });
  }

  #turnTo(table: number): void {
    this.#table = table;
    this.#cursors = new Map();
    for (const section of this.#sections) {
      if (section.table !== table) continue;
      const list = this.#cursors.get(section.partition) ?? [];
      list.push({ ...section, next: 0 });
      this.#cursors.set(section.partition, list);
    }
  }
}

/** Overwrites the rows of [first, end) that the delta changed. */
async function patch(cursor: Cursor, rowBytes: number, first: number, end: number, into: Uint8Array): Promise<void> {
  const { file, positionsAt, rowsAt, rowCount, next } = cursor;
  const ahead = Math.min(end - first, rowCount - next); // no more can lie before `end`
  if (ahead === 0) return;
  const positions = new Uint32Array(ahead);
  await file.readAt(positionsAt + next * 4, new Uint8Array(positions.buffer));
  let count = 0;
  while (count < ahead && positions[count]! < end) count++;
  if (count === 0) return;
  const rows = Buffer.allocUnsafe(count * rowBytes);
  await file.readAt(rowsAt + next * rowBytes, rows);
  for (let i = 0; i < count; i++)
    into.set(rows.subarray(i * rowBytes, (i + 1) * rowBytes), (positions[i]! - first) * rowBytes);
  cursor.next = next + count;
}
