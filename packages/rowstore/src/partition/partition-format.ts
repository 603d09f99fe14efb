import { ServingError } from "@shardserve/core";
import { PARTITION_COUNT_MAX } from "@shardserve/placement";
import { xxh3 } from "@node-rs/xxhash";
import {
  BLOCK_BYTES,
  BLOCK_DIGEST_BYTES,
  DIRECTORY_ENTRY_BYTES,
  FILE_PAGE_BYTES,
  HEADER_FIELDS_BYTES,
  type PartitionLayout,
  TRAILER_BYTES,
} from "./partition-layout.js";

/*
 * Byte layout of a partition file: docs/formats.md, "Partition file". Everything is little-endian.
 */

/** "SHRDROWS" and "SHRDFOOT" as little-endian 64-bit words. */
const HEADER_MAGIC = 0x5357_4f52_4452_4853n;
const TRAILER_MAGIC = 0x544f_4f46_4452_4853n;
const FORMAT_VERSION = 1;
/** Bound on the directory, so that a hostile header allocates little: 65535 tables. */
const SECTIONS_MAX = 0xffff;
/** Bound on the footer: 16 TiB of blocks. */
const BLOCKS_MAX = 2 ** 24;

/** What the fixed fields of a header say. */
export interface PartitionHeader {
  readonly partition: number;
  readonly partitionCount: number;
  readonly sectionCount: number;
  readonly headerBytes: number;
  readonly dataBytes: number;
  readonly blockCount: number;
  readonly fileBytes: number;
}

/** Header and directory of one partition, `layout.headerBytes` long. */
export function encodePartitionHeader(layout: PartitionLayout, partition: number): Uint8Array {
  const bytes = new Uint8Array(layout.headerBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, HEADER_MAGIC, true);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setUint32(12, partition, true);
  view.setUint32(16, layout.partitionCount, true);
  view.setUint32(20, layout.sections.length, true);
  setU64(view, 24, layout.headerBytes);
  setU64(view, 32, layout.dataBytes);
  view.setUint32(40, BLOCK_BYTES, true);
  view.setUint32(44, layout.blockCount, true);
  setU64(view, 48, layout.fileBytes);
  for (const [i, section] of layout.sections.entries()) {
    const at = HEADER_FIELDS_BYTES + i * DIRECTORY_ENTRY_BYTES;
    view.setUint32(at, section.table, true);
    view.setUint32(at + 4, section.rowBytes, true);
    setU64(view, at + 8, section.rowCount);
    setU64(view, at + 16, section.offset);
  }
  return bytes;
}

/**
 * Checks the fixed fields of a header and reads them. All sizes are checked against each other, so none of them leads
 * to an allocation or a read outside the file.
 *
 * @param bytes     the first {@link HEADER_FIELDS_BYTES} bytes of the file, or more
 * @param fileSize  size of the file on disk
 * @throws ServingError PARTITION_INVALID
 */
export function decodePartitionHeader(bytes: Uint8Array, fileSize: number, path: string): PartitionHeader {
  const check = (isGood: boolean, why: string): void => {
    if (!isGood) throw partitionInvalid(path, why);
  };
  check(bytes.length >= HEADER_FIELDS_BYTES, `it has ${bytes.length} bytes, a header needs ${HEADER_FIELDS_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  check(view.getBigUint64(0, true) === HEADER_MAGIC, "it does not begin as a partition file");
  const version = view.getUint32(8, true);
  check(version === FORMAT_VERSION, `its format version is ${version}, this program reads ${FORMAT_VERSION}`);
  const header: PartitionHeader = {
    partition: view.getUint32(12, true),
    partitionCount: view.getUint32(16, true),
    sectionCount: view.getUint32(20, true),
    headerBytes: getU64(view, 24),
    dataBytes: getU64(view, 32),
    blockCount: view.getUint32(44, true),
    fileBytes: getU64(view, 48),
  };
  const { partition, partitionCount, sectionCount, headerBytes, dataBytes, blockCount, fileBytes } = header;
  check(fileBytes === fileSize, `it should have ${fileBytes} bytes and has ${fileSize}; it was cut off or is damaged`);
  check(partitionCount >= 1 && partitionCount <= PARTITION_COUNT_MAX, `it counts ${partitionCount} partitions`);
  check(partition < partitionCount, `it is partition ${partition} of ${partitionCount}`);
  check(view.getUint32(40, true) === BLOCK_BYTES, `its blocks have ${view.getUint32(40, true)} bytes`);
  check(view.getBigUint64(56, true) === 0n, "its header has bits that mean nothing");
  check(sectionCount <= SECTIONS_MAX, `it lists ${sectionCount} sections`);
  const directoryEnd = HEADER_FIELDS_BYTES + sectionCount * DIRECTORY_ENTRY_BYTES;
  check(
    headerBytes === Math.ceil(directoryEnd / FILE_PAGE_BYTES) * FILE_PAGE_BYTES,
    `its header ends at ${headerBytes}`,
  );
  check(
    blockCount <= BLOCKS_MAX && blockCount === Math.ceil(dataBytes / BLOCK_BYTES),
    `it counts ${blockCount} blocks`,
  );
  const footerBytes = blockCount * BLOCK_DIGEST_BYTES + TRAILER_BYTES;
  check(headerBytes + dataBytes + footerBytes === fileBytes, "its sizes do not add up");
  return header;
}

/** Block checksums and trailer. */
export function encodePartitionFooter(blockDigests: BigUint64Array): Uint8Array {
  const at = blockDigests.length * BLOCK_DIGEST_BYTES;
  const bytes = new Uint8Array(at + TRAILER_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < blockDigests.length; i++) view.setBigUint64(i * BLOCK_DIGEST_BYTES, blockDigests[i]!, true);
  view.setUint32(at, BLOCK_BYTES, true);
  view.setUint32(at + 4, blockDigests.length, true);
  view.setBigUint64(at + 8, TRAILER_MAGIC, true);
  return bytes;
}

/** @throws ServingError PARTITION_INVALID */
export function decodePartitionFooter(bytes: Uint8Array, header: PartitionHeader, path: string): BigUint64Array {
  const at = header.blockCount * BLOCK_DIGEST_BYTES;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    bytes.length !== at + TRAILER_BYTES ||
    view.getUint32(at, true) !== BLOCK_BYTES ||
    view.getUint32(at + 4, true) !== header.blockCount ||
    view.getBigUint64(at + 8, true) !== TRAILER_MAGIC
  ) {
    throw partitionInvalid(path, "its footer is damaged");
  }
  const digests = new BigUint64Array(header.blockCount);
  for (let i = 0; i < digests.length; i++) digests[i] = view.getBigUint64(i * BLOCK_DIGEST_BYTES, true);
  return digests;
}

/**
 * Digest of a whole partition file: xxh3-128 of header and footer, which holds the checksum of every block.
 *
 * @returns 32 lowercase hex digits
 */
export function partitionDigest(header: Uint8Array, footer: Uint8Array): string {
  return digestHex(Buffer.concat([header, footer]));
}

/** xxh3-128 as 32 lowercase hex digits. */
export function digestHex(bytes: Uint8Array): string {
  return xxh3.xxh128(bytes).toString(16).padStart(32, "0");
}

export function partitionInvalid(path: string, why: string, cause?: unknown): ServingError {
  return new ServingError("PARTITION_INVALID", `${path}: ${why}; copy it again or export the version anew`, {
    cause,
    details: { path },
  });
}

function setU64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

/** Values beyond 2^53 lose precision and then fail the checks that compare them. */
function getU64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}
