import { ServingError } from "@shardserve/core";
import { digestHex } from "../partition/partition-format.js";
import { BLOCK_BYTES, BLOCK_DIGEST_BYTES } from "../partition/partition-layout.js";

/*
 * Byte layout of a segment: the changed rows of one partition in a delta's rows file (docs/formats.md, "Rows of a delta").
 * Everything is little-endian. Positions stand in the head, rows in the data, so that who needs only to know which rows
 * changed reads no row.
 */

/** "SHRDDELT" as a little-endian 64-bit word. */
const MAGIC = 0x544c_4544_4452_4853n;
const FORMAT_VERSION = 1;
/** Fixed fields at the start of a segment. */
export const SEGMENT_FIELDS_BYTES = 64;
const DIRECTORY_ENTRY_BYTES = 32;
/** Heads, sections and segments begin at multiples of this. */
const SEGMENT_ALIGN_BYTES = 64;
/** Bounds on what a head may announce, so that a hostile one allocates little. */
const SECTIONS_MAX = 0xffff;
const HEAD_BYTES_MAX = 2 ** 31;

/** The changed rows of one table in one partition. */
export interface DeltaSection {
  /** Index into the version's table list. */
  readonly table: number;
  readonly rowBytes: number;
  readonly rowCount: number;
}

/** Where everything lies in a segment. */
export interface SegmentLayout {
  readonly partition: number;
  readonly partitionCount: number;
  readonly epoch: number;
  readonly sections: readonly DeltaSection[];
  /** Offset of each section's positions from the segment's start, in bytes. */
  readonly positionOffsets: readonly number[];
  /** Offset of each section's rows from the data's start, in bytes. */
  readonly rowOffsets: readonly number[];
  readonly headBytes: number;
  readonly dataBytes: number;
  readonly blockCount: number;
  /** Head, data and block checksums. */
  readonly bytes: number;
}

/** Lays a segment out; it follows from the row counts alone, so a reader compares heads byte for byte. */
export function segmentLayout(
  epoch: number,
  partition: number,
  partitionCount: number,
  sections: readonly DeltaSection[],
): SegmentLayout {
  let at = SEGMENT_FIELDS_BYTES + sections.length * DIRECTORY_ENTRY_BYTES;
  const positionOffsets = sections.map(({ rowCount }) => {
    const offset = at;
    at += rowCount * 4;
    return offset;
  });
  const headBytes = aligned(at);
  let dataBytes = 0;
  const rowOffsets = sections.map(({ rowBytes, rowCount }) => {
    const offset = dataBytes;
    dataBytes = aligned(dataBytes + rowBytes * rowCount);
    return offset;
  });
  const blockCount = Math.ceil(dataBytes / BLOCK_BYTES);
  const bytes = headBytes + dataBytes + blockCount * BLOCK_DIGEST_BYTES;
  return {
    partition,
    partitionCount,
    epoch,
    sections,
    positionOffsets,
    rowOffsets,
    headBytes,
    dataBytes,
    blockCount,
    bytes,
  };
}

/** Up to a multiple of {@link SEGMENT_ALIGN_BYTES}. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / SEGMENT_ALIGN_BYTES) * SEGMENT_ALIGN_BYTES;
}

/** The head without its positions, which are zeros: fixed fields and directory. */
export function encodeSegmentHead(layout: SegmentLayout): Uint8Array {
  const head = new Uint8Array(layout.headBytes);
  const view = new DataView(head.buffer);
  view.setBigUint64(0, MAGIC, true);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, layout.partition, true);
  view.setUint32(16, layout.partitionCount, true);
  view.setUint32(20, layout.sections.length, true);
  setU64(view, 24, layout.epoch);
  setU64(view, 32, layout.headBytes);
  setU64(view, 40, layout.dataBytes);
  view.setUint32(48, layout.blockCount, true);
  layout.sections.forEach(({ table, rowBytes, rowCount }, i) => {
    const at = SEGMENT_FIELDS_BYTES + i * DIRECTORY_ENTRY_BYTES;
    view.setUint32(at, table, true);
    view.setUint32(at + 4, rowBytes, true);
    view.setUint32(at + 8, rowCount, true);
    setU64(view, at + 16, layout.positionOffsets[i]!);
    setU64(view, at + 24, layout.rowOffsets[i]!);
  });
  return head;
}

/**
 * How long the head of a segment and the list of checksums at its end are, from its fixed fields; checked against the
 * segment's size.
 *
 * @throws ServingError DELTA_INVALID
 */
export function readSegmentSizes(
  fields: Uint8Array,
  segmentBytes: number,
  where: string,
): { readonly headBytes: number; readonly blockCount: number } {
  const view = new DataView(fields.buffer, fields.byteOffset, fields.byteLength);
  if (fields.length < SEGMENT_FIELDS_BYTES || view.getBigUint64(0, true) !== MAGIC) {
    throw deltaInvalid(where, "it does not begin as rows of a delta");
  }
  const version = view.getUint32(8, true);
  if (version !== FORMAT_VERSION)
    throw deltaInvalid(where, `its format version is ${version}, this program reads ${FORMAT_VERSION}`);
  const headBytes = Number(view.getBigUint64(32, true));
  if (headBytes < SEGMENT_FIELDS_BYTES || headBytes > Math.min(segmentBytes, HEAD_BYTES_MAX))
    throw deltaInvalid(where, `its head ends at ${headBytes}`);
  const blockCount = view.getUint32(48, true);
  if (headBytes + blockCount * BLOCK_DIGEST_BYTES > segmentBytes)
    throw deltaInvalid(where, `it counts ${blockCount} blocks`);
  return { headBytes, blockCount };
}

/** A segment's head, taken apart. */
export interface SegmentHead {
  readonly layout: SegmentLayout;
  /** Per section: positions of the changed rows in the partition, ascending; row id = position * P + partition. */
  readonly positions: readonly Uint32Array[];
}

/**
 * Reads a head whose digest was compared already; still nothing in it is believed.
 *
 * @param head  the whole head, 4-aligned
 * @throws ServingError DELTA_INVALID
 */
export function decodeSegmentHead(head: Uint8Array, where: string): SegmentHead {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const sectionCount = view.getUint32(20, true);
  if (sectionCount > SECTIONS_MAX || SEGMENT_FIELDS_BYTES + sectionCount * DIRECTORY_ENTRY_BYTES > head.length)
    throw deltaInvalid(where, `it lists ${sectionCount} sections`);
  const sections: DeltaSection[] = [];
  for (let i = 0; i < sectionCount; i++) {
    const at = SEGMENT_FIELDS_BYTES + i * DIRECTORY_ENTRY_BYTES;
    sections.push({
      table: view.getUint32(at, true),
      rowBytes: view.getUint32(at + 4, true),
      rowCount: view.getUint32(at + 8, true),
    });
  }
  const epoch = Number(view.getBigUint64(24, true));
  const layout = segmentLayout(epoch, view.getUint32(12, true), view.getUint32(16, true), sections);
  const directoryBytes = SEGMENT_FIELDS_BYTES + sectionCount * DIRECTORY_ENTRY_BYTES;
  if (layout.headBytes !== head.length) throw deltaInvalid(where, "its head does not fit its directory");
  const expected = encodeSegmentHead(layout).subarray(0, directoryBytes);
  if (Buffer.compare(expected, head.subarray(0, directoryBytes)) !== 0)
    throw deltaInvalid(where, "its directory is damaged");
  const positions = sections.map(
    ({ rowCount }, i) => new Uint32Array(head.buffer, head.byteOffset + layout.positionOffsets[i]!, rowCount),
  );
  for (const [i, column] of positions.entries()) {
    if (i > 0 && sections[i]!.table <= sections[i - 1]!.table) throw deltaInvalid(where, "its tables are out of order");
    for (let k = 1; k < column.length; k++)
      if (column[k]! <= column[k - 1]!) throw deltaInvalid(where, "its positions are out of order");
  }
  return { layout, positions };
}

/** Digest of a segment: xxh3-128 of head and block checksums behind one another; covers every byte, as a partition's does. */
export function segmentDigest(head: Uint8Array, blockDigests: Uint8Array): string {
  return digestHex(Buffer.concat([head, blockDigests]));
}

/** DELTA_INVALID: a delta that is not what it says, or says nothing. */
export function deltaInvalid(where: string, why: string, cause?: unknown): ServingError {
  return new ServingError("DELTA_INVALID", `${where}: ${why}; copy the delta again or export it anew`, {
    cause,
    details: { where },
  });
}

function setU64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}
