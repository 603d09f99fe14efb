import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { invariant, readAt, writeAt } from "@shardserve/core";
import { BlockHasher } from "./block-hasher.js";
import {
  type DeltaSection,
  encodeSegmentHead,
  segmentDigest,
  type SegmentLayout,
  segmentLayout,
  aligned,
} from "./delta-format.js";
import type { DeltaSegment } from "./delta-manifest.js";
import { DELTA_ROWS_FILE } from "./delta-paths.js";

/** Memory for rows that wait to be written, over all partitions, and what one partition gets of it at most. */
const BUFFER_BYTES_MAX = 64 * 2 ** 20;
const PARTITION_BUFFER_BYTES_MAX = 256 * 1024;
const COPY_BYTES = 2 ** 20;

/** Bytes on their way to one place of the file. */
class Column {
  readonly #buffer: Buffer;
  #filled = 0;
  #offset: number;

  constructor(offset: number, capacity: number) {
    this.#offset = offset;
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  async append(file: FileHandle, bytes: Uint8Array): Promise<void> {
    if (this.#filled + bytes.length > this.#buffer.length) await this.flush(file);
    if (bytes.length > this.#buffer.length) {
      await writeAt(file, bytes, this.#offset);
      this.#offset += bytes.length;
      return;
    }
    this.#buffer.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  async flush(file: FileHandle): Promise<void> {
    await writeAt(file, this.#buffer.subarray(0, this.#filled), this.#offset);
    this.#offset += this.#filled;
    this.#filled = 0;
  }
}

/**
 * Writes the rows file of a delta whose row counts are known: table after table, and within a table each partition's rows
 * in ascending order of position. Memory is bounded whatever the number of rows.
 */
export class DeltaRowsWriter {
  readonly #file: FileHandle;
  readonly #layouts: readonly SegmentLayout[];
  readonly #offsets: readonly number[];
  readonly #columnBytes: number;
  /** Of the table being written: columns by partition. */
  #table = -1;
  #columns = new Map<number, { readonly positions: Column; readonly rows: Column }>();

  private constructor(file: FileHandle, layouts: readonly SegmentLayout[]) {
    this.#file = file;
    this.#layouts = layouts;
    let at = 0;
    this.#offsets = layouts.map(({ bytes }) => {
      const offset = at;
      at = aligned(at + bytes);
      return offset;
    });
    const perColumn = Math.floor(BUFFER_BYTES_MAX / Math.max(1, layouts.length) / 2);
    this.#columnBytes = Math.max(512, Math.min(PARTITION_BUFFER_BYTES_MAX, perColumn));
  }

  /** @param counts  per partition with changes, ascending: the changed rows of its tables */
  static async create(
    directory: string,
    epoch: number,
    partitionCount: number,
    counts: readonly { readonly partition: number; readonly sections: readonly DeltaSection[] }[],
  ): Promise<DeltaRowsWriter> {
    const layouts = counts.map(({ partition, sections }) => segmentLayout(epoch, partition, partitionCount, sections));
    const file = await open(join(directory, DELTA_ROWS_FILE), "w+");
    return new DeltaRowsWriter(file, layouts);
  }

  /** Bytes that the file will have. */
  get bytes(): number {
    const last = this.#layouts.length - 1;
    return last < 0 ? 0 : this.#offsets[last]! + this.#layouts[last]!.bytes;
  }

  /** Rows of one partition, behind those that it was given before. Tables come in ascending order. */
  async append(table: number, partition: number, positions: Uint32Array, rows: Uint8Array): Promise<void> {
    if (table !== this.#table) await this.#turnTo(table);
    const columns = this.#columns.get(partition);
    invariant(columns, `partition ${partition} has no rows of table ${table} to be written`);
    await columns.positions.append(
      this.#file,
      new Uint8Array(positions.buffer, positions.byteOffset, positions.byteLength),
    );
    await columns.rows.append(this.#file, rows);
  }

  /** Writes heads and checksums and hands everything to the disk. @returns the segments */
  async finish(): Promise<DeltaSegment[]> {
    await this.#turnTo(-1);
    const segments: DeltaSegment[] = [];
    for (const [i, layout] of this.#layouts.entries()) segments.push(await this.#seal(layout, this.#offsets[i]!));
    await this.#file.truncate(this.bytes);
    await this.#file.sync();
    return segments;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #turnTo(table: number): Promise<void> {
    for (const { positions, rows } of this.#columns.values()) {
      await positions.flush(this.#file);
      await rows.flush(this.#file);
    }
    this.#columns = new Map();
    this.#table = table;
    if (table < 0) return;
    for (const [i, layout] of this.#layouts.entries()) {
      const section = layout.sections.findIndex((candidate) => candidate.table === table);
      if (section < 0) continue;
      const offset = this.#offsets[i]!;
      const { rowCount, rowBytes } = layout.sections[section]!;
      this.#columns.set(layout.partition, {
        positions: new Column(offset + layout.positionOffsets[section]!, Math.min(this.#columnBytes, rowCount * 4)),
        rows: new Column(
          offset + layout.headBytes + layout.rowOffsets[section]!,
          Math.min(this.#columnBytes, rowCount * rowBytes),
        ),
      });
    }
  }

  /** The head takes its positions from the file; the rows are read back for their checksums. */
  async #seal(layout: SegmentLayout, offset: number): Promise<DeltaSegment> {
    const head = encodeSegmentHead(layout);
    const positionsAt = layout.positionOffsets[0] ?? layout.headBytes;
    const written = head.subarray(positionsAt);
    await readAt(this.#file, written, offset + positionsAt); // beyond the last position the file has a hole: zeros
    await writeAt(this.#file, head, offset);
    const hasher = new BlockHasher();
    const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
    for (let at = 0; at < layout.dataBytes; at += COPY_BYTES) {
      const piece = buffer.subarray(0, Math.min(COPY_BYTES, layout.dataBytes - at)).fill(0);
      await readAt(this.#file, piece, offset + layout.headBytes + at);
      hasher.add(piece);
    }
    const footer = hasher.finish();
    if (layout.dataBytes > 0) await writeAt(this.#file, footer, offset + layout.headBytes + layout.dataBytes);
    return { partition: layout.partition, offset, bytes: layout.bytes, digest: segmentDigest(head, footer) };
  }
}
