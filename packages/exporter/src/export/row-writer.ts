import type { Logger, ProgressTask } from "@shardserve/core";
import type { Ort } from "@shardserve/native";
import {
  encodeRows,
  type FinishedPartition,
  PartitionFileWriter,
  type PartitionLayout,
  partitionPath,
  type TableInfo,
} from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { SourceTensors } from "../source/export-source.js";
import { type Journal, readJournal, writeJournal } from "./journal.js";
import { RowScatter } from "./row-scatter.js";
import { TableSource, type TableSourceState } from "../source/table-source.js";

/** Default of {@link RowWriterOptions.chunkBytes}: long writes, and six such buffers fit the memory budget. */
export const CHUNK_BYTES = 32 * 2 ** 20;
/** Default of {@link RowWriterOptions.journalEveryBytes}. */
export const JOURNAL_EVERY_BYTES = 2 ** 30;

export interface RowWriterOptions {
  readonly ort: Ort;
  readonly source: SourceTensors;
  readonly tables: readonly TableInfo[];
  readonly layout: PartitionLayout;
  /** Directory that gets `partitions/` and the journal. */
  readonly dir: string;
  readonly exportDigest: string;
  /** Rows are moved in chunks of about this many bytes. */
  readonly chunkBytes: number;
  /** A journal entry is written after this many bytes: what a kill costs at most, besides re-reading. */
  readonly journalEveryBytes: number;
  readonly progress: ProgressTask;
  readonly logger: Logger;
  readonly signal: AbortSignal | undefined;
}

/** Where writing begins. */
type Position = Pick<Journal, "section" | "source">;

/** Chunks of a table: whole groups of P rows, the last group padded with zeros. */
interface Chunks {
  readonly table: TableInfo;
  /** Bytes of one row in the checkpoint. */
  readonly sourceRowBytes: number;
  /** Groups of the whole table: the rows that every partition gets. */
  readonly groupCount: number;
  readonly groupsPerChunk: number;
}

/**
 * Writes the rows of all tables into the partition files: read, verify, encode, deal out, append. The next chunk is
 * read and the one before is written while a chunk is dealt out; memory is four chunks, whatever the table's size.
 */
export class RowWriter {
  readonly #options: RowWriterOptions;
  readonly #writers: PartitionFileWriter[] = [];
  readonly #buffers: [Buffers, Buffers] = [new Buffers(), new Buffers()];
  #pendingWrite: Promise<unknown> = Promise.resolve();
  #sinceJournalBytes = 0;
  #isResumed = false;

  constructor(options: RowWriterOptions) {
    this.#options = options;
  }

  /** True once a run found files of an earlier one that it could go on with. */
  get isResumed(): boolean {
    return this.#isResumed;
  }

  /** @returns digest and size of every partition file, by partition */
  async write(): Promise<FinishedPartition[]> {
    try {
      const start = await this.#open();
      const { sections } = this.#options.layout;
      for (let section = start.section; section < sections.length; section++) {
        await this.#writeTable(section, section === start.section ? start.source : { byteOffset: 0, crc: 0 });
      }
      const finished: FinishedPartition[] = [];
      for (const writer of this.#writers) finished.push(await writer.finish());
      return finished;
    } finally {
      await this.#pendingWrite.catch(() => undefined); // its error was thrown where it was awaited
      for (const writer of this.#writers) await writer.close();
    }
  }

  /** Opens all partition files; those that an earlier run of the same export left are gone on with. */
  async #open(): Promise<Position> {
    const journal = await readJournal(this.#options.dir, this.#options.exportDigest);
    const position = journal && (await this.#resume(journal));
    if (position) return position;
    const { dir, layout } = this.#options;
    for (let partition = 0; partition < layout.partitionCount; partition++) {
      this.#writers.push(await PartitionFileWriter.create(join(dir, partitionPath(partition)), partition, layout));
    }
    return { section: 0, source: { byteOffset: 0, crc: 0 } };
  }

  /** @returns undefined, and removes the files, when they do not hold what the journal says */
  async #resume(journal: Journal): Promise<Position | undefined> {
    const { dir, layout, tables, progress, logger, signal } = this.#options;
    try {
      for (let partition = 0; partition < layout.partitionCount; partition++) {
        const state = journal.writers[partition]!;
        const path = join(dir, partitionPath(partition));
        this.#writers.push(await PartitionFileWriter.resume(path, partition, layout, state, signal ? { signal } : {}));
      }
    } catch (error) {
      signal?.throwIfAborted();
      logger.warn(
        { dir, reason: (error as Error).message },
        "what the interrupted export left is damaged; beginning anew",
      );
      for (const writer of this.#writers.splice(0)) await writer.close();
      await rm(join(dir, "partitions"), { recursive: true, force: true });
      await mkdir(join(dir, "partitions"));
      return undefined;
    }
    const complete = layout.sections.slice(0, journal.section);
    const doneBytes =
      complete.reduce((sum, { table }) => sum + sourceBytes(tables[table]!), 0) + journal.source.byteOffset;
    progress.advance(doneBytes);
    logger.info({ dir, doneBytes }, "going on with an interrupted export");
    this.#isResumed = true;
    return journal;
  }

  async #writeTable(section: number, from: TableSourceState): Promise<void> {
    const { source: tensors, tables, layout, chunkBytes, signal } = this.#options;
    const chunks = chunksOf(tables[layout.sections[section]!.table]!, layout.partitionCount, chunkBytes);
    await using source = new TableSource(tensors, chunks.table.checkpointKey, from);
    using scatter = new RowScatter(this.#options.ort, layout.partitionCount, chunks.table.rowBytes);
    const { groupCount, groupsPerChunk } = chunks;
    const rowsDone = from.byteOffset / chunks.sourceRowBytes;
    let group = rowsDone >= chunks.table.rows ? groupCount : rowsDone / layout.partitionCount;
    let [current, next] = this.#buffers;
    let reading = group < groupCount ? this.#read(source, chunks, group, current) : Promise.resolve();
    for (; group < groupCount; group += groupsPerChunk) {
      await reading;
      const state = source.state;
      const groups = Math.min(groupsPerChunk, groupCount - group);
      // The other buffer's rows were appended from its target; its source is free already.
      reading = group + groups < groupCount ? this.#read(source, chunks, group + groups, next) : Promise.resolve();
      reading.catch(() => undefined); // awaited at the top of the next round
      const rows = this.#encode(chunks, groups * layout.partitionCount, current);
      const parts = await scatter.scatter(rows, groups, current.target(rows.length));
      await this.#pendingWrite;
      signal?.throwIfAborted();
      this.#pendingWrite = Promise.all(parts.map((part, partition) => this.#writers[partition]!.append(part)));
      this.#pendingWrite.catch(() => undefined); // awaited before the next append, or at the end
      this.#options.progress.advance(
        Math.min(
          groups * layout.partitionCount * chunks.sourceRowBytes,
          sourceBytes(chunks.table) - group * layout.partitionCount * chunks.sourceRowBytes,
        ),
      );
      await this.#journal(section, state, rows.length);
      [current, next] = [next, current];
    }
    await reading;
    await this.#pendingWrite;
  }

  /** Reads a chunk's rows; what lies behind the table's last row is zeroed. */
  async #read(source: TableSource, chunks: Chunks, group: number, buffers: Buffers): Promise<void> {
    const { partitionCount } = this.#options.layout;
    const groups = Math.min(chunks.groupsPerChunk, chunks.groupCount - group);
    const rows = Math.min(groups * partitionCount, chunks.table.rows - group * partitionCount);
    const target = buffers.source(groups * partitionCount * chunks.sourceRowBytes);
    target.fill(0, rows * chunks.sourceRowBytes);
    await source.read(target.subarray(0, rows * chunks.sourceRowBytes), this.#options.signal);
  }

  #encode(chunks: Chunks, rowCount: number, buffers: Buffers): Uint8Array {
    const source = buffers.source(rowCount * chunks.sourceRowBytes);
    if (chunks.table.rowDtype === "same") return source;
    const encoded = buffers.encoded(rowCount * chunks.table.rowBytes);
    const { rowDtype, dim } = chunks.table;
    encodeRows(rowDtype, new Float32Array(source.buffer, source.byteOffset, rowCount * dim), rowCount, dim, encoded);
    return encoded;
  }

  /** Records progress now and then; waits for the appends first, so that the journal never runs ahead of the files. */
  async #journal(section: number, source: TableSourceState, bytes: number): Promise<void> {
    this.#sinceJournalBytes += bytes;
    if (this.#sinceJournalBytes < this.#options.journalEveryBytes) return;
    this.#sinceJournalBytes = 0;
    await this.#pendingWrite;
    const { dir, exportDigest } = this.#options;
    const writers = this.#writers.map((writer) => writer.checkpoint());
    await writeJournal(dir, { formatVersion: 1, exportDigest, section, source, writers });
  }
}

function chunksOf(table: TableInfo, partitionCount: number, chunkBytes: number): Chunks {
  const sourceRowBytes = table.dim * DTYPES[table.dtype].bytes;
  const groupBytes = partitionCount * Math.max(sourceRowBytes, table.rowBytes);
  return {
    table,
    sourceRowBytes,
    groupCount: Math.ceil(table.rows / partitionCount),
    groupsPerChunk: Math.max(1, Math.floor(chunkBytes / groupBytes)),
  };
}

function sourceBytes(table: TableInfo): number {
  return table.rows * table.dim * DTYPES[table.dtype].bytes;
}

/** The buffers of one chunk in flight, allocated when first needed and reused for all tables. */
class Buffers {
  #source = new Uint8Array(0);
  #encoded = new Uint8Array(0);
  #target = new Uint8Array(0);

  source(bytes: number): Uint8Array {
    if (this.#source.length < bytes) this.#source = new Uint8Array(bytes);
    return this.#source.subarray(0, bytes);
  }

  encoded(bytes: number): Uint8Array {
    if (this.#encoded.length < bytes) this.#encoded = new Uint8Array(bytes);
    return this.#encoded.subarray(0, bytes);
  }

  target(bytes: number): Uint8Array {
    if (this.#target.length < bytes) this.#target = new Uint8Array(bytes);
    return this.#target.subarray(0, bytes);
  }
}
