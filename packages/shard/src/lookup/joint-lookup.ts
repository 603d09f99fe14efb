import type { Clock } from "@shardserve/core";
import { RowIndexes } from "@shardserve/rowstore";
import {
  type BufferPool,
  type Exchange,
  FRAME,
  JOIN_BYTES_MAX,
  type LookupRequest,
  PlainRows,
} from "@shardserve/transport";
import type { ByteBudget } from "./byte-budget.js";
import type { ShardMetrics } from "../metrics.js";
import { type ServedVersion, servableName } from "../versions/served-version.js";

export interface JointLookupOptions {
  readonly budget: ByteBudget;
  readonly pool: BufferPool;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  /** Answers a request that failed. */
  readonly refuse: (exchange: Exchange, error: unknown) => void;
}

/** Rows of one gather, in bytes: enough to make its fixed cost of 3 us small, little enough to stay in the CPU's cache. */
const GATHER_BYTES = 256 * 1024;

/** A lookup that was located and waits for the gather. */
interface Waiting {
  readonly exchange: Exchange;
  readonly request: LookupRequest;
}

/** The rows of one width that wait, of all requests, behind one another. */
class Width {
  readonly indexes: RowIndexes;
  readonly rows: Uint8Array;
  /** Rows that waited before the request that is being added. */
  countBefore = 0;
  /** Rows that were answered already. */
  answered = 0;

  constructor(rowBytes: number, pool: BufferPool) {
    const rowsMax = Math.ceil(GATHER_BYTES / rowBytes);
    this.indexes = new RowIndexes(rowBytes, rowsMax);
    this.rows = pool.acquire(rowsMax * rowBytes);
  }
}

/**
 * Answers small lookups that arrived together by one gather per row width: a gather costs 3 us before its first row, which
 * is what 60 rows cost, and a reader that is woken once for many replies answers with many requests. Their replies are
 * written side by side into the connection's buffer.
 *
 * Takes only what needs no telling apart: small requests of a version that is in memory, all of whose ids are held.
 */
export class JointLookup {
  readonly #options: JointLookupOptions;
  readonly #waiting: Waiting[] = [];
  readonly #plain = new PlainRows();
  /** Scratch memory by row width, over all versions. */
  readonly #byRowBytes = new Map<number, Width>();
  #served: ServedVersion | undefined;
  /** Of the version that is waited for: every width once; by table index where its indexes go, and its row width. */
  #widths: readonly Width[] = [];
  #indexesOf: readonly RowIndexes[] = [];
  #rowBytesOf = new Int32Array(0);

  constructor(options: JointLookupOptions) {
    this.#options = options;
  }

  /**
   * Locates a request's rows, to be gathered by the next `flush`, which must come in this turn of the event loop.
   *
   * @returns bytes of its reply; 0, and nothing has happened, when the request has to go alone
   */
  add(exchange: Exchange, served: ServedVersion, request: LookupRequest): number {
    if (!served.set.isWarm) return 0;
    const other = this.#waiting[0]?.exchange;
    if (other && !exchange.sharesConnection(other)) this.flush();
    const bytes = this.#plan(served, request);
    if (bytes === 0) return 0;
    if (!this.#locate(served, request)) return 0;
    this.#waiting.push({ exchange, request });
    return bytes;
  }

  /** Gathers and answers everything that waits. */
  flush(): void {
    const served = this.#served;
    if (served === undefined || this.#waiting.length === 0) return;
    const { budget, metrics, clock, refuse } = this.#options;
    const startMs = clock.nowMs();
    let gatheredBytes = 0;
    let rowCount = 0;
    for (const { indexes } of this.#widths) {
      gatheredBytes += indexes.rowBytes * indexes.count;
      rowCount += indexes.count;
    }
    try {
      budget.take(gatheredBytes, `${this.#waiting.length} lookups of ${servableName(served.model, served.version)}`);
    } catch (error) {
      this.#end((exchange) => refuse(exchange, error));
      return;
    }
    const connection = this.#waiting[0]!.exchange;
    try {
      for (const { indexes, rows } of this.#widths) {
        served.set.gatherNow(indexes.rowBytes, indexes.indexes, 0, indexes.count, rows);
      }
    } catch (error) {
      budget.give(gatheredBytes);
      this.#end((exchange) => refuse(exchange, error));
      return;
    }
    metrics.gatherSeconds.observe({ path: "loop" }, (clock.nowMs() - startMs) / 1000);
    metrics.requests.inc({ protocol: "frame", code: "OK" }, this.#waiting.length);
    metrics.rows.inc({ model: served.model }, rowCount);
    metrics.bytes.inc({ model: served.model }, gatheredBytes);
    metrics.replyBytesInFlight.set(budget.usedBytes);
    this.#end((exchange, request) => this.#answer(exchange, request));
    connection.afterSent(() => {
      budget.give(gatheredBytes);
      metrics.replyBytesInFlight.set(budget.usedBytes);
    });
  }

  /** Makes room for the request, by a flush where it must. @returns bytes of the reply; 0 when it is none of the small ones */
  #plan(served: ServedVersion, { words, columnsAt, tableCount, idsAt }: LookupRequest): number {
    if (served !== this.#served) {
      this.flush();
      this.#turnTo(served);
    }
    const known = this.#indexesOf.length;
    for (let column = columnsAt; column < idsAt; column += 2) {
      if (words[column]! >>> 0 >= known) return 0;
    }
    const plain = this.#plain;
    const bytes = plain.plan(words, columnsAt, tableCount, this.#rowBytesOf);
    if (bytes > JOIN_BYTES_MAX) return 0;
    for (let k = 0; k < plain.widthCount; k++) {
      const { indexes } = this.#byRowBytes.get(plain.widths[k]!) as Width;
      if (indexes.count + plain.rowCounts[k]! <= indexes.indexes.length) continue;
      this.flush();
      break;
    }
    return bytes;
  }

  #locate({ set }: ServedVersion, { words, columnsAt, idsAt, epoch }: LookupRequest): boolean {
    for (const width of this.#widths) width.countBefore = width.indexes.count;
    let isLocated = false;
    try {
      isLocated = set.locateColumns(words, columnsAt, idsAt, epoch, this.#indexesOf);
    } finally {
      if (!isLocated) for (const width of this.#widths) width.indexes.count = width.countBefore;
    }
    return isLocated;
  }

  #answer(exchange: Exchange, { words, columnsAt, tableCount, generation, epoch }: LookupRequest): void {
    const plain = this.#plain;
    const rowBytesOf = this.#rowBytesOf;
    const reply = exchange.reserveReply(FRAME.ROWS, plain.plan(words, columnsAt, tableCount, rowBytesOf));
    if (reply) plain.writeHead(reply.view, reply.start, generation, epoch, words, columnsAt, tableCount, rowBytesOf);
    for (let k = 0; k < plain.widthCount; k++) {
      const rowBytes = plain.widths[k]!;
      const width = this.#byRowBytes.get(rowBytes) as Width;
      const start = width.answered * rowBytes;
      width.answered += plain.rowCounts[k]!;
      reply?.bytes.set(width.rows.subarray(start, width.answered * rowBytes), reply.start + plain.starts[k]!);
    }
  }

  #end(answer: (exchange: Exchange, request: LookupRequest) => void): void {
    const waiting = this.#waiting.splice(0);
    try {
      for (const { exchange, request } of waiting) {
        answer(exchange, request);
        exchange.releasePayload();
      }
    } finally {
      for (const width of this.#widths) width.indexes.count = width.answered = 0;
    }
  }

  #turnTo(served: ServedVersion): void {
    this.#served = served;
    const widths = served.set.tables.map(({ rowBytes }) => {
      const known = this.#byRowBytes.get(rowBytes);
      if (known) return known;
      const width = new Width(rowBytes, this.#options.pool);
      this.#byRowBytes.set(rowBytes, width);
      return width;
    });
    this.#widths = [...new Set(widths)];
    this.#indexesOf = widths.map(({ indexes }) => indexes);
    this.#rowBytesOf = Int32Array.from(this.#indexesOf, ({ rowBytes }) => rowBytes);
  }
}
