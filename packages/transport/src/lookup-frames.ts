import { ServingError } from "@shardserve/core";

/**
 * Payloads of LOOKUP and ROWS (docs/formats.md, "Frames"). Little-endian; offsets are from the payload's start.
 *
 * ```
 * LOOKUP  0 u32 channel   4 u32 remainingMs (0 = no deadline)   8 u64 generation   16 u64 epoch   24 u32 tableCount   28 u32 0
 *         32 per table: u32 table, u32 idCount
 *         then the ids of every table, i64, table after table (8-aligned)
 * ROWS    0 u64 generation   8 u64 epoch   16 u32 tableCount   20 u32 0
 *         24 per table: u32 table, u32 status, u32 rowCount, u32 rowBytes, u32 rowOffset, u32 defaultOffset, u32 defaultCount, u32 detail
 *         then per table with defaults: u32 positions of the default rows; then the rows
 * ```
 * Tables of one row width lie behind one another, so that one gather fills them; the first starts at a multiple of 64.
 * `detail` belongs to the status: PARTITION_NOT_OWNED the partition, ROW_OUT_OF_RANGE the position of the id.
 */
const REQUEST_HEAD_BYTES = 32;
const REQUEST_TABLE_BYTES = 8;
const REPLY_HEAD_BYTES = 24;
const REPLY_TABLE_BYTES = 32;

/** A frame names at most this many tables. */
export const LOOKUP_TABLES_MAX = 4096;

/** Status of one table in a ROWS reply. Numbers are part of the wire format. */
export const TABLE_STATUS = {
  OK: 0,
  TABLE_NOT_FOUND: 1,
  PARTITION_NOT_OWNED: 2,
  ROW_OUT_OF_RANGE: 3,
} as const;

const STATUS_CODES = ["OK", "TABLE_NOT_FOUND", "PARTITION_NOT_OWNED", "ROW_OUT_OF_RANGE"] as const;

/** The error code of a table's status other than OK. */
export function statusCode(status: number): "TABLE_NOT_FOUND" | "PARTITION_NOT_OWNED" | "ROW_OUT_OF_RANGE" {
  const code = STATUS_CODES[status];
  if (code === undefined || code === "OK") throw invalid("a rows frame", `${status} is no table status`);
  return code;
}

export interface LookupHeader {
  readonly channel: number;
  /** What is left of the deadline, in whole milliseconds, at least 1; 0 = no deadline. */
  readonly remainingMs: number;
  /** Partition map that the caller routed by; for logs and metrics, the shard answers by what it holds. */
  readonly generation: number;
  readonly epoch: number;
}

/** Bytes of a LOOKUP payload. */
export function lookupRequestBytes(tableCount: number, idCount: number): number {
  return REQUEST_HEAD_BYTES + tableCount * REQUEST_TABLE_BYTES + idCount * 8;
}

/**
 * Lays out a LOOKUP payload, to be filled in place.
 *
 * @param tables    table index per column
 * @param idCounts  ids per column
 * @returns `ids`: all columns behind one another as 32-bit lanes (lo, hi), to be written by the caller
 */
export function createLookupRequest(
  header: LookupHeader,
  tables: readonly number[],
  idCounts: readonly number[],
): { payload: Uint8Array; ids: Int32Array } {
  let idCount = 0;
  for (const count of idCounts) idCount += count;
  const bytes = lookupRequestBytes(tables.length, idCount);
  const payload = Buffer.allocUnsafe(bytes);
  const view = new DataView(payload.buffer, payload.byteOffset, bytes);
  view.setUint32(0, header.channel, true);
  view.setUint32(4, Math.min(header.remainingMs, 0xffff_ffff), true);
  setU64(view, 8, header.generation);
  setU64(view, 16, header.epoch);
  view.setUint32(24, tables.length, true);
  view.setUint32(28, 0, true);
  for (let i = 0; i < tables.length; i++) {
    view.setUint32(REQUEST_HEAD_BYTES + i * REQUEST_TABLE_BYTES, tables[i] as number, true);
    view.setUint32(REQUEST_HEAD_BYTES + i * REQUEST_TABLE_BYTES + 4, idCounts[i] as number, true);
  }
  const idOffset = lookupRequestBytes(tables.length, 0);
  return { payload, ids: new Int32Array(payload.buffer, payload.byteOffset + idOffset, idCount * 2) };
}

/** A LOOKUP payload taken apart; views into the payload, nothing copied. */
export interface LookupRequest extends LookupHeader {
  readonly tableCount: number;
  /** Per column: table index and id count, interleaved. */
  readonly columns: Uint32Array;
  /** All ids of all columns behind one another. */
  readonly ids: BigInt64Array;
}

/**
 * Takes a LOOKUP payload apart after checking every count against the bytes that are there.
 *
 * @param payload  8-aligned
 * @throws ServingError FRAME_INVALID
 */
export function readLookupRequest(payload: Uint8Array): LookupRequest {
  const what = "a lookup frame";
  if (payload.length < REQUEST_HEAD_BYTES) throw invalid(what, `it has only ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const tableCount = view.getUint32(24, true);
  if (tableCount > LOOKUP_TABLES_MAX)
    throw invalid(what, `it names ${tableCount} tables, the limit is ${LOOKUP_TABLES_MAX}`);
  const idOffset = lookupRequestBytes(tableCount, 0);
  if (payload.length < idOffset) throw invalid(what, `${tableCount} tables do not fit into ${payload.length} bytes`);
  const columns = new Uint32Array(payload.buffer, payload.byteOffset + REQUEST_HEAD_BYTES, tableCount * 2);
  let idCount = 0;
  for (let i = 0; i < tableCount; i++) idCount += columns[i * 2 + 1] as number;
  if (idOffset + idCount * 8 !== payload.length) {
    throw invalid(what, `it announces ${idCount} ids, ${(payload.length - idOffset) / 8} are there`);
  }
  return {
    channel: view.getUint32(0, true),
    remainingMs: view.getUint32(4, true),
    generation: getU64(view, 8, what),
    epoch: getU64(view, 16, what),
    tableCount,
    columns,
    ids: new BigInt64Array(payload.buffer, payload.byteOffset + idOffset, idCount),
  };
}

/** What a ROWS reply says of one table. */
export interface TableReply {
  readonly table: number;
  /** One of {@link TABLE_STATUS}; rows are there only when OK. */
  readonly status: number;
  readonly rowCount: number;
  readonly rowBytes: number;
  /** Positions, within this table's rows, of rows that are defaults; usually empty. */
  readonly defaults: Uint32Array;
  readonly detail: number;
}

const NO_DEFAULTS = new Uint32Array(0);

/** Shared by every table without defaults. */
export function noDefaults(): Uint32Array {
  return NO_DEFAULTS;
}

/** Where things go in a ROWS payload. */
export interface RowsLayout {
  /** Bytes of the whole payload. */
  readonly bytes: number;
  /** Per table: offset of its first row. */
  readonly rowOffsets: readonly number[];
  /** Padding, as [start, end) pairs; written as zeros, so that no byte of a recycled buffer travels. */
  readonly gaps: readonly number[];
}

/**
 * Plans a ROWS payload: tables of equal row width are contiguous in the order given, each width starts 64-aligned.
 * Pure; the shard gathers by it and the writer below follows it.
 */
export function planRows(tables: readonly TableReply[]): RowsLayout {
  let at = REPLY_HEAD_BYTES + tables.length * REPLY_TABLE_BYTES;
  for (const { defaults } of tables) at += defaults.length * 4;
  const gaps: number[] = [];
  const rowOffsets = tables.map(() => 0);
  const widths = new Set<number>();
  for (const { rowBytes, rowCount } of tables) if (rowCount > 0) widths.add(rowBytes);
  for (const width of widths) {
    gaps.push(at);
    at = Math.ceil(at / 64) * 64;
    gaps.push(at);
    for (let i = 0; i < tables.length; i++) {
      const table = tables[i] as TableReply;
      if (table.rowBytes !== width || table.rowCount === 0) continue;
      rowOffsets[i] = at;
      at += width * table.rowCount;
    }
  }
  return { bytes: at, rowOffsets, gaps };
}

/** Writes everything but the rows into `payload`, which has at least `layout.bytes` bytes and is 8-aligned. */
export function writeRowsHead(
  payload: Uint8Array,
  layout: RowsLayout,
  generation: number,
  epoch: number,
  tables: readonly TableReply[],
): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  setU64(view, 0, generation);
  setU64(view, 8, epoch);
  view.setUint32(16, tables.length, true);
  view.setUint32(20, 0, true);
  for (let i = 0; i < layout.gaps.length; i += 2) payload.fill(0, layout.gaps[i], layout.gaps[i + 1]);
  let defaultOffset = REPLY_HEAD_BYTES + tables.length * REPLY_TABLE_BYTES;
  for (let i = 0; i < tables.length; i++) {
    const table = tables[i] as TableReply;
    const at = REPLY_HEAD_BYTES + i * REPLY_TABLE_BYTES;
    view.setUint32(at, table.table, true);
    view.setUint32(at + 4, table.status, true);
    view.setUint32(at + 8, table.rowCount, true);
    view.setUint32(at + 12, table.rowBytes, true);
    view.setUint32(at + 16, layout.rowOffsets[i] as number, true);
    view.setUint32(at + 20, table.defaults.length === 0 ? 0 : defaultOffset, true);
    view.setUint32(at + 24, table.defaults.length, true);
    view.setUint32(at + 28, table.detail, true);
    for (let k = 0; k < table.defaults.length; k++) {
      view.setUint32(defaultOffset, table.defaults[k] as number, true);
      defaultOffset += 4;
    }
  }
}

/**
 * Lays out and writes the head of ROWS payloads in which every table has its rows and none is a default: what
 * {@link planRows} and {@link writeRowsHead} do, without an object per table. Reused from reply to reply.
 */
export class PlainRows {
  /** Per table of the reply: offset of its first row, 0 without rows. Valid for the last `plan`. */
  offsets = new Int32Array(64);
  readonly #gaps: number[] = [];

  /**
   * @param columns   per table: table index and row count, interleaved
   * @param rowBytes  per table: width of a row
   * @returns bytes of the payload
   */
  plan(columns: Uint32Array, rowBytes: Int32Array): number {
    const tableCount = columns.length >> 1;
    if (this.offsets.length < tableCount) this.offsets = new Int32Array(tableCount);
    const { offsets } = this;
    offsets.fill(-1, 0, tableCount);
    this.#gaps.length = 0;
    let at = REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES;
    for (let first = 0; first < tableCount; first++) {
      if (offsets[first] !== -1) continue;
      if (columns[2 * first + 1] === 0) {
        offsets[first] = 0;
        continue;
      }
      const width = rowBytes[first] as number;
      this.#gaps.push(at);
      at = Math.ceil(at / 64) * 64;
      this.#gaps.push(at);
      for (let i = first; i < tableCount; i++) {
        const rowCount = columns[2 * i + 1] as number;
        if (rowBytes[i] !== width || rowCount === 0) continue;
        offsets[i] = at;
        at += width * rowCount;
      }
    }
    return at;
  }

  /** Writes everything but the rows, as the last `plan` laid it out. */
  writeHead(payload: Uint8Array, generation: number, epoch: number, columns: Uint32Array, rowBytes: Int32Array): void {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const tableCount = columns.length >> 1;
    setU64(view, 0, generation);
    setU64(view, 8, epoch);
    view.setUint32(16, tableCount, true);
    view.setUint32(20, 0, true);
    for (let i = 0; i < this.#gaps.length; i += 2) payload.fill(0, this.#gaps[i], this.#gaps[i + 1]);
    for (let i = 0, at = REPLY_HEAD_BYTES; i < tableCount; i++, at += REPLY_TABLE_BYTES) {
      view.setUint32(at, columns[2 * i] as number, true);
      view.setUint32(at + 4, TABLE_STATUS.OK, true);
      view.setUint32(at + 8, columns[2 * i + 1] as number, true);
      view.setUint32(at + 12, rowBytes[i] as number, true);
      view.setUint32(at + 16, this.offsets[i] as number, true);
      view.setUint32(at + 20, 0, true);
      view.setUint32(at + 24, 0, true);
      view.setUint32(at + 28, 0, true);
    }
  }
}

export interface RowsTable extends TableReply {
  /** Offset of the first row in the payload. */
  readonly rowOffset: number;
}

export interface RowsReply {
  readonly generation: number;
  readonly epoch: number;
  readonly tables: readonly RowsTable[];
}

/**
 * Reads the head of a ROWS payload; every offset and count is checked against the payload, rows stay where they are.
 *
 * @throws ServingError FRAME_INVALID
 */
export function readRowsReply(payload: Uint8Array): RowsReply {
  const what = "a rows frame";
  if (payload.length < REPLY_HEAD_BYTES) throw invalid(what, `it has only ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const tableCount = view.getUint32(16, true);
  if (tableCount > LOOKUP_TABLES_MAX)
    throw invalid(what, `it names ${tableCount} tables, the limit is ${LOOKUP_TABLES_MAX}`);
  if (payload.length < REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES) {
    throw invalid(what, `${tableCount} tables do not fit into ${payload.length} bytes`);
  }
  const tables: RowsTable[] = [];
  for (let i = 0; i < tableCount; i++)
    tables.push(readRowsTable(payload, view, REPLY_HEAD_BYTES + i * REPLY_TABLE_BYTES));
  return { generation: getU64(view, 0, what), epoch: getU64(view, 8, what), tables };
}

function readRowsTable(payload: Uint8Array, view: DataView, at: number): RowsTable {
  const status = view.getUint32(at + 4, true);
  const rowCount = view.getUint32(at + 8, true);
  const rowBytes = view.getUint32(at + 12, true);
  const rowOffset = view.getUint32(at + 16, true);
  const defaultOffset = view.getUint32(at + 20, true);
  const defaultCount = view.getUint32(at + 24, true);
  if (status >= STATUS_CODES.length) throw invalid("a rows frame", `${status} is no table status`);
  if (rowOffset + rowCount * rowBytes > payload.length) throw invalid("a rows frame", "rows reach beyond its end");
  if (defaultCount > rowCount || defaultOffset + defaultCount * 4 > payload.length || defaultOffset % 4 !== 0) {
    throw invalid("a rows frame", "its list of default rows is impossible");
  }
  if (rowCount > 0 && (status !== TABLE_STATUS.OK || rowOffset < REPLY_HEAD_BYTES)) {
    throw invalid("a rows frame", "rows lie where none can be");
  }
  const defaults =
    defaultCount === 0
      ? NO_DEFAULTS
      : new Uint32Array(payload.buffer, payload.byteOffset + defaultOffset, defaultCount);
  for (let k = 0; k < defaultCount; k++) {
    if ((defaults[k] as number) >= rowCount) throw invalid("a rows frame", "a default row lies beyond the last row");
  }
  return {
    table: view.getUint32(at, true),
    status,
    rowCount,
    rowBytes,
    rowOffset,
    defaults,
    detail: view.getUint32(at + 28, true),
  };
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

function getU64(view: DataView, at: number, what: string): number {
  const value = view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  if (!Number.isSafeInteger(value)) throw invalid(what, "a 64-bit count exceeds 2^53 - 1");
  return value;
}

function invalid(what: string, why: string): ServingError {
  return new ServingError("FRAME_INVALID", `${what} cannot be read: ${why}`);
}
