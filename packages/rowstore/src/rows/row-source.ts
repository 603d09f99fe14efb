import { type CancelSignal, type LookupExplanation, ServingError, type TraceParent } from "@shardserve/core";
import type { OrtValue } from "@shardserve/native";
import type { TableInfo } from "../manifest/table-info.js";

/** Rows wanted of one table. */
export interface RowRequest {
  /** Index into the version's table list. */
  readonly table: number;
  /** Row ids; repeated ones are fine. Read only until the lookup settles. */
  readonly ids: BigInt64Array | Int32Array;
}

/** Rows of one request, found through slots so that a cache can hand out its own memory. */
export interface RowBatch {
  /** Shape [capacity, ...rowShape], of the table's dtype. The lease's holder disposes of nothing. */
  readonly rows: OrtValue;
  /** Per id of the request: its row in `rows`. */
  readonly slots: Int32Array;
}

/** Where rows came from: counts of ids by table index. */
export interface RowReport {
  readonly cacheRows: Uint32Array;
  readonly shardRows: Uint32Array;
  readonly redisRows: Uint32Array;
  /** Rows of an older epoch, where the operator allows them. */
  readonly staleRows: Uint32Array;
  /** Rows that could not be had and read as defaults, where the operator allows them. */
  readonly defaultRows: Uint32Array;
  /** Epoch of all rows but stale ones. */
  readonly epoch: number;
  /** The source's tables, as the counts have them. */
  readonly tables: readonly TableInfo[];
}

/** Rows held for one run: nothing in `batches` moves or changes before `release()`. */
export interface RowLease {
  /** One per request, in order. */
  readonly batches: readonly RowBatch[];
  /** Absent where all rows are this machine's own: there is nothing to tell. */
  readonly report?: RowReport;
  /** Where the lookup asked for one and the source has more to say than the report. */
  readonly explanation?: LookupExplanation;
  /** After the run; once. */
  release(): void;
}

/** A lease whose rows may have come from elsewhere. */
export interface ReportedLease extends RowLease {
  readonly report: RowReport;
}

/** What ends a lookup early, and what it tells beside the rows. */
export interface LookupOptions {
  readonly signal?: CancelSignal;
  /** In the clock's `nowMs`. */
  readonly deadlineMs?: number;
  /** The lease tells what gave each row. */
  readonly isExplained?: boolean;
  /** Spans of other processes go inside of it; absent = the request is not traced. */
  readonly traceParent?: TraceParent | undefined;
  /** Whose rows are wanted, where a source has those of several epochs; absent = of the one in force. */
  readonly epoch?: number | undefined;
}

/** Where an executor's rows come from: shards and caches, or a checkpoint on this machine. */
export interface RowSource {
  readonly tables: readonly TableInfo[];
  /**
   * Fetches the rows of all requests.
   *
   * @throws ServingError ROW_OUT_OF_RANGE for an id outside its table, before anything is fetched
   */
  lookup(requests: readonly RowRequest[], options?: LookupOptions): Promise<RowLease>;
  close(): Promise<void>;
}

/** A report of zeros for the tables of a source. */
export function emptyRowReport(tables: readonly TableInfo[], epoch: number): RowReport {
  const tableCount = tables.length;
  const counts = new Uint32Array(5 * tableCount); // one allocation: each costs more than the counts of a small lookup
  const column = (k: number) => counts.subarray(k * tableCount, (k + 1) * tableCount);
  return {
    cacheRows: column(0),
    shardRows: column(1),
    redisRows: column(2),
    staleRows: column(3),
    defaultRows: column(4),
    epoch,
    tables,
  };
}

/**
 * The error for an id outside its table, in TensorFlow's words. `details` hold table, position, id and rows, so that the
 * engine can write the position as TensorFlow does, by the shape of the ids.
 */
export function rowOutOfRange(table: TableInfo, position: number, id: bigint | number): ServingError {
  return new ServingError("ROW_OUT_OF_RANGE", `indices[${position}] = ${id} is not in [0, ${table.rows})`, {
    details: { table: table.checkpointKey, position, id: String(id), rows: table.rows },
  });
}
