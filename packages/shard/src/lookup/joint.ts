import { invariant } from "@shardserve/core";
import type { BufferPool, Exchange, LookupRequest, ReservedPayload } from "@shardserve/transport";
import { allSettled } from "./all-settled.js";
import type { ServedVersion } from "../versions/served-version.js";

/** Rows of one gather, in bytes: enough to make its fixed cost of 3 us small, little enough to stay in the CPU's cache. */
const GATHER_BYTES = 256 * 1024;

/** A lookup that was located and waits for the gather. */
interface Waiting {
  readonly exchange: Exchange;
  readonly request: LookupRequest;
}

/** The rows of one width that wait, of all requests, behind one another. */
class Width {
  readonly rowBytes: number;
  readonly indexes: BigInt64Array;
  readonly rows: Uint8Array;
  /** Rows that wait. */
  count = 0;
  /** Rows that waited before the request that is being added. */
  countBefore = 0;
  /** Rows that were answered already. */
  answered = 0;

  constructor(rowBytes: number, pool: BufferPool) {
    this.rowBytes = rowBytes;
    const rowsMax = Math.ceil(GATHER_BYTES / rowBytes);
    this.indexes = new BigInt64Array(rowsMax);
    this.rows = pool.acquire(rowsMax * rowBytes);
  }
}

/** Located lookups of one version, and the memory for what one gather per row width brings them. Used again and again. */
export class Joint {
  readonly waiting: Waiting[] = [];
  readonly #pool: BufferPool;
  /** Memory by row width, over all versions. */
  readonly #byRowBytes = new Map<number, Width>();
  #served: ServedVersion | undefined;
  /** Of `served`: the width of each table, and every width once. */
  #widthOf: readonly Width[] = [];
  #widths: readonly Width[] = [];

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Whose lookups wait. */
  get served(): ServedVersion | undefined {
    return this.#served;
  }

  get rowCount(): number {
    let rows = 0;
    for (const { count } of this.#widths) rows += count;
    return rows;
  }

  get bytes(): number {
    let bytes = 0;
    for (const { rowBytes, count } of this.#widths) bytes += rowBytes * count;
    return bytes;
  }

  /** Takes lookups of `served` from now on; nothing may wait. */
  turnTo(served: ServedVersion): void {
    if (served === this.#served) return;
    invariant(this.waiting.length === 0, "lookups of another version wait");
    this.#served = served;
    this.#widthOf = served.set.tables.map(({ rowBytes }) => {
      const known = this.#byRowBytes.get(rowBytes);
      if (known) return known;
      const width = new Width(rowBytes, this.#pool);
      this.#byRowBytes.set(rowBytes, width);
      return width;
    });
    this.#widths = [...new Set(this.#widthOf)];
  }

  /** Writes the row width of each table of a request. @returns false when it names a table that is not there */
  rowWidths({ words, columnsAt, tableCount }: LookupRequest, rowBytes: Int32Array): boolean {
    for (let i = 0; i < tableCount; i++) {
      const width = this.#widthOf[words[columnsAt + 2 * i] as number];
      if (width === undefined) return false;
      rowBytes[i] = width.rowBytes;
    }
    return true;
  }

  /** Whether the rows of a request fit beside those that wait. */
  hasRoom({ words, columnsAt, tableCount }: LookupRequest): boolean {
    for (const width of this.#widths) width.countBefore = width.count;
    for (let i = 0; i < tableCount; i++) {
      const width = this.#widthOf[words[columnsAt + 2 * i] as number] as Width;
      width.countBefore += words[columnsAt + 2 * i + 1] as number;
      if (width.countBefore > width.indexes.length) return false;
    }
    return true;
  }

  /**
   * Locates the rows of a request that fits, and adds it.
   *
   * @returns false, and nothing was added, when an id cannot be served
   */
  add(exchange: Exchange, request: LookupRequest): boolean {
    for (const width of this.#widths) width.countBefore = width.count;
    let isLocated = false;
    try {
      isLocated = this.#locate(request);
    } finally {
      if (!isLocated) for (const width of this.#widths) width.count = width.countBefore;
    }
    if (isLocated) this.waiting.push({ exchange, request });
    return isLocated;
  }

  /**
   * Begins the gathers, in the turn of the event loop in which the rows were located.
   *
   * @param mayLeave  large ones go to other threads
   * @returns undefined when all are done already
   */
  gather(mayLeave: boolean): Promise<void> | undefined {
    const { set } = this.#served as ServedVersion;
    const running: Promise<void>[] = [];
    try {
      for (const { rowBytes, indexes, count, rows } of this.#widths) {
        if (count === 0) continue;
        if (!mayLeave) set.gatherNow(rowBytes, indexes, 0, count, rows);
        else {
          const gathering = set.gather(rowBytes, indexes, 0, count, rows);
          if (gathering) running.push(gathering);
        }
      }
    } catch (error) {
      running.push(Promise.reject(error as Error)); // others may be writing still
    }
    return running.length === 0 ? undefined : allSettled(running);
  }

  /**
   * Hands out everything that waits, in order; then it is empty.
   *
   * @param answer  calls {@link takeRows} once, where rows were gathered
   */
  end(answer: (exchange: Exchange, request: LookupRequest) => void): void {
    const waiting = this.waiting.splice(0);
    try {
      for (const { exchange, request } of waiting) {
        answer(exchange, request);
        exchange.releasePayload();
      }
    } finally {
      for (const width of this.#widths) width.count = width.answered = 0;
    }
  }

  /**
   * Copies the rows of the next request into its reply.
   *
   * @param offsets  per table of the request: offset of its rows in the reply; those of one width lie behind one another
   * @param reply    absent = nobody waits for it any more
   */
  takeRows(
    { words, columnsAt, tableCount }: LookupRequest,
    offsets: Int32Array,
    reply: ReservedPayload | undefined,
  ): void {
    for (const width of this.#widths) {
      const { rowBytes, rows } = width;
      let offset = 0;
      let count = 0;
      for (let i = 0; i < tableCount; i++) {
        const tableRows = words[columnsAt + 2 * i + 1] as number;
        if (tableRows === 0 || this.#widthOf[words[columnsAt + 2 * i] as number] !== width) continue;
        if (count === 0) offset = offsets[i] as number;
        count += tableRows;
      }
      const start = width.answered * rowBytes;
      width.answered += count;
      if (reply && count > 0) reply.bytes.set(rows.subarray(start, start + count * rowBytes), reply.start + offset);
    }
  }

  #locate({ words, columnsAt, idsAt, epoch }: LookupRequest): boolean {
    const { set } = this.#served as ServedVersion;
    for (let column = columnsAt, at = idsAt / 2; column < idsAt; column += 2) {
      const table = words[column] as number;
      const end = at + (words[column + 1] as number);
      const width = this.#widthOf[table] as Width;
      if (set.locate(table, words, width.indexes, width.count, at, end, epoch) >= 0) return false;
      width.count += end - at;
      at = end;
    }
    return true;
  }
}
