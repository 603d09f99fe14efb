import { type Clock, ServingError } from "@shardserve/core";
import type { TableInfo } from "@shardserve/rowstore";
import {
  type BufferPool,
  noDefaults,
  planRows,
  type RowsLayout,
  TABLE_STATUS,
  type TableReply,
  writeRowsHead,
} from "@shardserve/transport";
import type { ByteBudget } from "./byte-budget.js";
import type { ShardMetrics } from "../metrics.js";
import { type ServedVersion, servableName } from "../versions/served-version.js";

/** What a lookup asks, whatever protocol it came by. */
export interface RowsQuery {
  readonly served: ServedVersion;
  /** One that `served` has. */
  readonly epoch: number;
  readonly generation: number;
  /** Per column: table index and id count, interleaved. */
  readonly columns: Uint32Array;
  /** All ids of all columns behind one another. */
  readonly ids: BigInt64Array;
  /** On the clock's `nowMs` scale; Infinity = none. */
  readonly deadlineMs: number;
}

/** Rows gathered into one ROWS payload. `release` gives its buffer and its share of the budget back; call it once. */
export interface GatheredRows {
  readonly payload: Uint8Array;
  readonly layout: RowsLayout;
  readonly tables: readonly TableReply[];
  release(this: void): void;
}

export interface RowLookupOptions {
  readonly budget: ByteBudget;
  readonly pool: BufferPool;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  /** Largest reply, in bytes. */
  readonly replyBytesMax: number;
}

const ROW_COST = 64;

/** What a lookup costs the event loop when it is gathered there, in bytes of long rows: each row counts for 64 more. */
export function lookupCost(replyBytes: number, rowCount: number): number {
  return replyBytes + rowCount * ROW_COST;
}

/** A lookup that was admitted: what will be answered, and the bytes of the budget that it holds. */
interface Admitted {
  readonly tables: readonly TableReply[];
  readonly layout: RowsLayout;
  readonly gathers: readonly Gather[];
  readonly releaseBudget: () => void;
}

/** One gather: rows of equal width, of all columns that have it. */
interface Gather {
  readonly rowBytes: number;
  readonly rowCount: number;
  readonly indexes: BigInt64Array;
  readonly byteOffset: number;
}

/**
 * Turns ids into rows: locates every id, takes bytes of the budget, and gathers each row width in one go straight into
 * the reply. What concerns one table only is said in that table's status; the others get their rows.
 */
export class RowLookup {
  readonly #options: RowLookupOptions;

  constructor(options: RowLookupOptions) {
    this.#options = options;
  }

  /**
   * The rows as one buffer.
   *
   * @returns at once when they were gathered on the event loop
   * @throws ServingError INVALID_ARGUMENT for a reply over the limit, RESOURCE_EXHAUSTED when the budget is spent,
   * DEADLINE_EXCEEDED when it expired before the gather
   */
  run(query: RowsQuery): GatheredRows | Promise<GatheredRows> {
    const { tables, layout, gathers, releaseBudget } = this.#admit(query);
    const { pool } = this.#options;
    const payload = pool.acquire(layout.bytes);
    const release = () => {
      pool.release(payload);
      releaseBudget();
    };
    try {
      writeRowsHead(payload, layout, query.generation, query.epoch, tables);
      const result: GatheredRows = { payload, layout, tables, release };
      const gathering = this.#gather(query.served, gathers, payload);
      return gathering === undefined ? result : settle(gathering, result);
    } catch (error) {
      release();
      throw error;
    }
  }

  #admit(query: RowsQuery): Admitted {
    const { budget, metrics, clock, pool, replyBytesMax } = this.#options;
    const { served } = query;
    const { tables, gathers, rowCount } = locate(query, pool);
    const layout = planRows(tables);
    const { bytes } = layout;
    const what = `a lookup of ${rowCount} rows of ${servableName(served.model, served.version)}`;
    if (bytes > replyBytesMax) {
      const text = `${what} has ${bytes} bytes, the limit of one reply is ${replyBytesMax}; ask in parts`;
      throw new ServingError("INVALID_ARGUMENT", text);
    }
    if (clock.nowMs() >= query.deadlineMs) {
      throw new ServingError("DEADLINE_EXCEEDED", `${what} expired before it was begun`);
    }
    budget.take(bytes, what);
    metrics.replyBytesInFlight.set(budget.usedBytes);
    metrics.rows.inc({ model: served.model }, rowCount);
    metrics.bytes.inc({ model: served.model }, bytes);
    const releaseBudget = () => {
      budget.give(bytes);
      metrics.replyBytesInFlight.set(budget.usedBytes);
    };
    return { tables, layout, gathers: place(gathers, tables, layout), releaseBudget };
  }

  /** All gathers begin in this turn, as the indexes demand; undefined when all are done already. */
  #gather(served: ServedVersion, gathers: readonly Gather[], payload: Uint8Array): Promise<void> | undefined {
    const { clock, metrics, pool } = this.#options;
    const startMs = clock.nowMs();
    const running: Promise<void>[] = [];
    for (const { rowBytes, rowCount, indexes, byteOffset } of gathers) {
      const out = payload.subarray(byteOffset, byteOffset + rowCount * rowBytes);
      const gathering = served.set.gather(rowBytes, indexes, 0, rowCount, out);
      if (gathering) running.push(gathering);
    }
    const end = (path: "loop" | "pool") => {
      for (const { indexes } of gathers) pool.release(new Uint8Array(indexes.buffer));
      metrics.gatherSeconds.observe({ path }, (clock.nowMs() - startMs) / 1000);
    };
    if (running.length === 0) {
      end("loop");
      return undefined;
    }
    return allSettled(running).finally(() => end("pool"));
  }
}

/** Rejects with the first failure, but only when none is writing into the reply any more. */
async function allSettled(running: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(running)) if (outcome.status === "rejected") throw outcome.reason;
}

async function settle(gathering: Promise<void>, result: GatheredRows): Promise<GatheredRows> {
  try {
    await gathering;
    return result;
  } catch (error) {
    result.release();
    throw error;
  }
}

interface Located {
  readonly tables: readonly TableReply[];
  /** Index columns by row width, in the order in which `planRows` lays them out. */
  readonly gathers: ReadonlyMap<number, { readonly indexes: BigInt64Array; rowCount: number }>;
  readonly rowCount: number;
}

/** @param pool  gives the memory of the indexes: fresh memory for every large lookup made the collector mark the whole heap twice a second */
function locate({ served, epoch, columns, ids }: RowsQuery, pool: BufferPool): Located {
  const gathers = new Map<number, { indexes: BigInt64Array; rowCount: number }>();
  const lanes = new Int32Array(ids.buffer, ids.byteOffset, ids.length * 2);
  const tables: TableReply[] = [];
  let rowTotal = 0;
  let at = 0;
  for (let k = 0; k < columns.length; k += 2) {
    const table = columns[k]!;
    const count = columns[k + 1]!;
    const info: TableInfo | undefined = served.set.tables[table];
    const first = at;
    at += count;
    if (!info) {
      tables.push(failed(table, TABLE_STATUS.TABLE_NOT_FOUND, 0));
      continue;
    }
    let gather = gathers.get(info.rowBytes);
    if (!gather) {
      const { buffer, byteOffset } = pool.acquire((ids.length - first) * 8);
      gather = { indexes: new BigInt64Array(buffer, byteOffset, ids.length - first), rowCount: 0 };
      gathers.set(info.rowBytes, gather);
    }
    const bad = served.set.locate(table, lanes, gather.indexes, gather.rowCount, first, at, epoch);
    if (bad >= 0) {
      tables.push(whyBad(served, epoch, table, lanes.subarray(first * 2, at * 2), bad - first));
      continue;
    }
    gather.rowCount += count;
    rowTotal += count;
    const rowBytes = info.rowBytes;
    tables.push({ table, status: TABLE_STATUS.OK, rowCount: count, rowBytes, defaults: noDefaults(), detail: 0 });
  }
  return { tables, gathers, rowCount: rowTotal };
}

function whyBad({ set }: ServedVersion, epoch: number, table: number, ids: Int32Array, bad: number): TableReply {
  const { code, details } = set.refusal(table, ids, bad, epoch);
  if (code === "ROW_OUT_OF_RANGE") return failed(table, TABLE_STATUS.ROW_OUT_OF_RANGE, bad);
  return failed(table, TABLE_STATUS.PARTITION_NOT_OWNED, details["partition"] as number);
}

function failed(table: number, status: number, detail: number): TableReply {
  return { table, status, rowCount: 0, rowBytes: 0, defaults: noDefaults(), detail };
}

/** Each width's rows are contiguous in the layout: the first column of that width says where they begin. */
function place(gathers: Located["gathers"], tables: readonly TableReply[], layout: RowsLayout): Gather[] {
  const placed: Gather[] = [];
  for (const [rowBytes, { indexes, rowCount }] of gathers) {
    if (rowCount === 0) continue;
    const first = tables.findIndex((table) => table.rowBytes === rowBytes && table.rowCount > 0);
    placed.push({ rowBytes, rowCount, indexes, byteOffset: layout.rowOffsets[first]! });
  }
  return placed;
}
