import { join } from "node:path";
import { loadOrt, OrtValue } from "@shardserve/native";
import { newData } from "@shardserve/tensor";
import { refOf, type StoredDelta, tablesAt } from "../delta/delta-manifest.js";
import { epochPath } from "../delta/delta-paths.js";
import { DeltaFile } from "../delta/delta-reader.js";
import { type Manifest, partitionDigestOf } from "../manifest/manifest.js";
import { partitionPath } from "../partition/partition-layout.js";
import { PartitionSet } from "../partition/partition-set.js";
import { rowDecoder } from "./row-decoder.js";
import { emptyRowReport, type RowBatch, type ReportedLease, type RowRequest, type RowSource } from "./row-source.js";
import { StoredRows } from "./stored-rows.js";
import type { TableInfo } from "../manifest/table-info.js";

/** Which epoch of a version directory is opened, and how carefully. */
export interface OpenPartitionRowsOptions {
  /** Deltas that lead to the epoch wanted, first to last; default none: the rows as exported. */
  readonly chain?: readonly StoredDelta[];
  /** Whether every block is read and compared with its checksum first; default true. */
  readonly verify?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Rows of an exported version whose partition files all lie on this machine: a shard of everything inside the executor.
 * A lookup copies its rows, repeated ids included.
 */
export class PartitionRows implements RowSource {
  readonly tables: readonly TableInfo[];
  readonly #set: PartitionSet;
  readonly #epoch: number;

  private constructor(set: PartitionSet, chain: readonly StoredDelta[]) {
    const newest = chain.at(-1)?.manifest;
    this.tables = tablesAt(set.tables, newest);
    this.#set = set;
    this.#epoch = newest?.epoch ?? 0;
  }

  /**
   * @param directory  version directory
   * @throws ServingError NOT_FOUND, PARTITION_INVALID, DELTA_INVALID, DIGEST_MISMATCH, CHECKSUM_MISMATCH naming file and block
   */
  static async open(
    directory: string,
    manifest: Manifest,
    { chain = [], ...options }: OpenPartitionRowsOptions = {},
  ): Promise<PartitionRows> {
    loadOrt();
    const set = new PartitionSet(manifest.tables, manifest.partitionCount);
    try {
      for (let partition = 0; manifest.tables.length > 0 && partition < manifest.partitionCount; partition++) {
        const expectedDigest = partitionDigestOf(manifest, partition);
        await set.add(partition, join(directory, partitionPath(partition)), { ...options, expectedDigest });
      }
      for (const stored of chain) {
        const { epoch, tables } = stored.manifest;
        await using file = await DeltaFile.open(join(directory, epochPath(refOf(stored))), manifest.tables);
        set.overlay.begin(epoch, tables);
        for (const partition of file.partitions) await set.overlay.stage(partition, file, options);
      }
    } catch (error) {
      await set.close();
      throw error;
    }
    return new PartitionRows(set, chain);
  }

  async lookup(
    requests: readonly RowRequest[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ReportedLease> {
    const values: OrtValue[] = [];
    const report = emptyRowReport(this.tables, this.#epoch);
    try {
      const batches: RowBatch[] = [];
      for (const { table, ids } of requests) {
        const rows = await this.#rows(table, ids, options);
        values.push(rows);
        batches.push({ rows, slots: Int32Array.from({ length: ids.length }, (_, i) => i) });
        report.shardRows[table]! += ids.length;
      }
      return { batches, report, release: () => values.splice(0).forEach((value) => value.dispose()) };
    } catch (error) {
      for (const value of values) value.dispose();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#set.close();
  }

  async #rows(
    table: number,
    ids: BigInt64Array | Int32Array,
    options: { readonly signal?: AbortSignal },
  ): Promise<OrtValue> {
    const info = this.tables[table]!;
    const wide = ids instanceof Int32Array ? BigInt64Array.from(ids, BigInt) : ids;
    const count = wide.length;
    const indexes = new BigInt64Array(count);
    const refused = this.#set.locate(table, wide, indexes, 0, 0, count, this.#epoch);
    if (refused >= 0) throw this.#set.refusal(table, wide, refused, this.#epoch);
    const stored = new Uint8Array(count * info.rowBytes);
    await this.#set.gather(info.rowBytes, indexes, 0, count, stored, options);
    const decoded = newData(info.dtype, count * info.dim);
    rowDecoder(info)(
      new StoredRows(stored),
      0,
      count,
      decoded,
      Int32Array.from({ length: count }, (_, i) => i),
      0,
    );
    return OrtValue.overMemory(info.dtype, [count, ...info.rowShape], decoded);
  }
}
