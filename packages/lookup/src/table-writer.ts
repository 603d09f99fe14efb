import { rowDecoder, type TableInfo } from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";

/** Writes `rowCount` stored rows, the first at `source[offset]`, into rows `slots[slotsAt ...]` of a slab. */
export type RowWriter = (
  source: Uint8Array,
  offset: number,
  rowCount: number,
  slots: Int32Array,
  slotsAt: number,
) => void;

/** Bytes of one row as runs see it: decoded, back to back. */
export function slabRowBytes({ dtype, dim }: TableInfo): number {
  return dim * DTYPES[dtype].bytes;
}

/**
 * The writer that turns stored rows of a table, as they come over the wire, into rows of a slab.
 *
 * @param target  rows of {@link slabRowBytes} back to back, 8-aligned
 */
export function createTableWriter(table: TableInfo, target: Uint8Array): RowWriter {
  const decode = rowDecoder(table);
  return (source, offset, rowCount, slots, slotsAt) => decode(source, offset, rowCount, target, slots, slotsAt);
}
