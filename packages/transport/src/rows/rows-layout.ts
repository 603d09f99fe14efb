/**
 * Payload of ROWS (docs/formats.md, "Frames"). Little-endian; offsets are from the payload's start.
 *
 * ```
 * 0 u64 generation   8 u64 epoch   16 u32 tableCount   20 u32 0
 * 24 per table: u32 table, u32 status, u32 rowCount, u32 rowBytes, u32 rowOffset, u32 defaultOffset, u32 defaultCount, u32 detail
 * then per table with defaults: u32 positions of the default rows; then the rows
 * ```
 * Tables of one row width lie behind one another, so that one gather fills them; the first starts at a multiple of 64.
 * `detail` belongs to the status: PARTITION_NOT_OWNED the partition, ROW_OUT_OF_RANGE the position of the id.
 */
export const REPLY_HEAD_BYTES = 24;
/** Bytes of each table's entry in the head of a ROWS reply. */
export const REPLY_TABLE_BYTES = 32;

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
      const table = tables[i]!;
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
  view.setBigUint64(0, BigInt(generation), true);
  view.setBigUint64(8, BigInt(epoch), true);
  view.setUint32(16, tables.length, true);
  view.setUint32(20, 0, true);
  for (let i = 0; i < layout.gaps.length; i += 2) payload.fill(0, layout.gaps[i], layout.gaps[i + 1]);
  let defaultOffset = REPLY_HEAD_BYTES + tables.length * REPLY_TABLE_BYTES;
  for (let i = 0; i < tables.length; i++) {
    const table = tables[i]!;
    const at = REPLY_HEAD_BYTES + i * REPLY_TABLE_BYTES;
    view.setUint32(at, table.table, true);
    view.setUint32(at + 4, table.status, true);
    view.setUint32(at + 8, table.rowCount, true);
    view.setUint32(at + 12, table.rowBytes, true);
    view.setUint32(at + 16, layout.rowOffsets[i]!, true);
    view.setUint32(at + 20, table.defaults.length === 0 ? 0 : defaultOffset, true);
    view.setUint32(at + 24, table.defaults.length, true);
    view.setUint32(at + 28, table.detail, true);
    for (let k = 0; k < table.defaults.length; k++) {
      view.setUint32(defaultOffset, table.defaults[k]!, true);
      defaultOffset += 4;
    }
  }
}
