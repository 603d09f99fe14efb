import { type Allocation, allocate, OrtValue } from "@shardserve/native";
import type { TableInfo } from "@shardserve/rowstore";
import { RowCache } from "./row-cache.js";
import { createTableWriter, rowCopier, type RowWriter, slabRowBytes } from "../batch/table-writer.js";

/** Rows of one table as runs see them: the slab with its cache, or nothing where the table is not cached. */
export interface Slab {
  readonly cache: RowCache;
  readonly rows: OrtValue;
  readonly bytes: Uint8Array;
  readonly write: RowWriter;
}

/** A buffer that holds the distinct rows of one run. */
export interface CompactRows {
  readonly count: number;
  readonly rows: OrtValue;
  readonly bytes: Uint8Array;
  readonly write: RowWriter;
}

/** One table of the served version on this executor. */
export class TableState implements Disposable {
  readonly index: number;
  readonly info: TableInfo;
  /** Bytes of one decoded row. */
  readonly slabRowBytes: number;
  readonly slab: Slab | undefined;
  readonly #memory: Allocation | undefined;
  /** Batches that read or write its slab. */
  #users = 0;
  #isRetired = false;

  /** @param capacity  slots; 0 = not cached */
  constructor(index: number, info: TableInfo, capacity: number) {
    this.index = index;
    this.info = info;
    this.slabRowBytes = slabRowBytes(info);
    if (capacity === 0) return;
    this.#memory = allocate(capacity * this.slabRowBytes);
    const { bytes } = this.#memory;
    this.slab = {
      cache: new RowCache(capacity),
      rows: OrtValue.overMemory(info.dtype, [capacity, ...info.rowShape], this.#memory),
      bytes,
      write: createTableWriter(info, bytes),
    };
  }

  /** Memory for `count` rows of one run; the caller disposes of `rows`. */
  createCompact(count: number): CompactRows {
    const bytes = Buffer.allocUnsafeSlow(Math.max(8, count * this.slabRowBytes));
    return {
      count,
      rows: OrtValue.overMemory(this.info.dtype, [count, ...this.info.rowShape], bytes),
      bytes,
      write: createTableWriter(this.info, bytes),
    };
  }

  /** Copies rows of slots of the slab into rows of a compact buffer. */
  copierTo(target: CompactRows): (slot: number, to: number) => void {
    return this.slab ? rowCopier(this.slab.bytes, target.bytes, this.slabRowBytes) : () => undefined;
  }

  /** A batch has slots of the slab, until it calls {@link letGo}. */
  hold(): void {
    this.#users++;
  }

  letGo(): void {
    this.#users--;
    if (this.#isRetired && this.#users === 0) this[Symbol.dispose]();
  }

  /** Another one took its place: the slab is freed with its last user. */
  retire(): void {
    this.#isRetired = true;
    if (this.#users === 0) this[Symbol.dispose]();
  }

  /** Fills a new slab with the rows that another one of this table is asked for most. Lets other work go on in between. */
  async adopt(other: TableState): Promise<void> {
    const { slab, slabRowBytes: width } = this;
    if (!slab || !other.slab) return;
    const copy = rowCopier(other.slab.bytes, slab.bytes, width);
    other.hold();
    await slab.cache.adopt(other.slab.cache, copy).finally(() => other.letGo());
  }

  /** Frees the slab; no run may use it any more. */
  [Symbol.dispose](): void {
    this.slab?.rows.dispose();
    this.#memory?.free();
  }
}
