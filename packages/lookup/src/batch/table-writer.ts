import { decoderTarget, rowDecoder, type StoredRows, type TableInfo } from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";

/** Writes `rowCount` stored rows, the first at `offset` of the source, into rows `slots[slotsAt ...]` of a slab. */
export type RowWriter = (
  source: StoredRows,
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
 * @param slab  rows of {@link slabRowBytes} back to back, 8-aligned
 */
export function createTableWriter(table: TableInfo, slab: Uint8Array): RowWriter {
  const decode = rowDecoder(table);
  const target = decoderTarget(table, slab);
  return (source, offset, rowCount, slots, slotsAt) => decode(source, offset, rowCount, target, slots, slotsAt);
}

/** Copies single rows between slabs of one width. */
export function rowCopier(
  source: Uint8Array,
  target: Uint8Array,
  rowBytes: number,
): (from: number, to: number) => void {
  const Units = rowBytes % 4 === 0 ? Int32Array : Int8Array;
  const width = rowBytes / Units.BYTES_PER_ELEMENT;
  const viewOf = ({ buffer, byteOffset, length }: Uint8Array) =>
    new Units(buffer as ArrayBuffer, byteOffset, Math.floor(length / Units.BYTES_PER_ELEMENT));
  const [read, write] = [viewOf(source), viewOf(target)];
  return (from, to) => {
    for (let i = 0, r = from * width, w = to * width; i < width; i++) write[w + i] = read[r + i]!;
  };
}
