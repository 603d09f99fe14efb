import { invariant } from "@shardserve/core";
import { PARTITION_COUNT_MAX } from "@shardserve/placement";
import type { TableInfo } from "../manifest/table-info.js";

/** Groups start at multiples of this in the file, so that they can be mapped. */
export const FILE_PAGE_BYTES = 4096;
/** Unit of checksums and of verification. */
export const BLOCK_BYTES = 2 ** 20;
/** Fixed fields at the start of a partition file. */
export const HEADER_FIELDS_BYTES = 64;
/** One directory entry. */
export const DIRECTORY_ENTRY_BYTES = 32;
/** After the block checksums, at the very end of the file. */
export const TRAILER_BYTES = 16;
/** Bytes of one block checksum (xxh3-64). */
export const BLOCK_DIGEST_BYTES = 8;

const MIB = 2 ** 20;
const PARTITIONS_MIN = 61;

/** The rows of one table in one partition file. */
export interface Section {
  /** Index into the version's table list. */
  readonly table: number;
  readonly rowBytes: number;
  /** Rows per partition, the same in all: ceil(rows / partitionCount). Rows behind the table's last one are zeros. */
  readonly rowCount: number;
  /** Offset in the file. */
  readonly offset: number;
}

/** Sections of equal row width, packed behind one another: one array of rows, mapped in one piece. */
export interface StrideGroup {
  readonly rowBytes: number;
  /** Offset in the file, a multiple of {@link FILE_PAGE_BYTES}. */
  readonly offset: number;
  readonly rowCount: number;
  readonly sections: readonly Section[];
}

/**
 * Where everything lies in a partition file. The same for all partitions of a version, because every partition has room
 * for ceil(rows / partitionCount) rows of every table: at most one row of padding per table.
 */
export interface PartitionLayout {
  readonly partitionCount: number;
  readonly groups: readonly StrideGroup[];
  /** In file order, which is the order of writing: by row width as it first appears, then by table. */
  readonly sections: readonly Section[];
  /** Header and directory, padded to whole pages; where the data begins. */
  readonly headerBytes: number;
  /** From the end of the header to the footer, padding of groups included. */
  readonly dataBytes: number;
  readonly blockCount: number;
  readonly footerBytes: number;
  readonly fileBytes: number;
}

/** Lays out the partition files of a version. Pure; a structure test of the format is its twin in the tests. */
export function partitionLayout(
  tables: readonly Pick<TableInfo, "rows" | "rowBytes">[],
  partitionCount: number,
): PartitionLayout {
  invariant(
    Number.isInteger(partitionCount) && partitionCount >= 1 && partitionCount <= PARTITION_COUNT_MAX,
    `${partitionCount} partitions`,
  );
  const byStride = new Map<number, number[]>();
  for (const [i, table] of tables.entries()) {
    const group = byStride.get(table.rowBytes);
    if (group) group.push(i);
    else byStride.set(table.rowBytes, [i]);
  }
  const headerBytes = toPages(HEADER_FIELDS_BYTES + tables.length * DIRECTORY_ENTRY_BYTES);
  let offset = headerBytes;
  const groups: StrideGroup[] = [];
  for (const [rowBytes, members] of byStride) {
    const groupOffset = offset;
    const sections = members.map((table) => {
      const rowCount = Math.ceil((tables[table] as { rows: number }).rows / partitionCount);
      const section = { table, rowBytes, rowCount, offset };
      offset += rowCount * rowBytes;
      return section;
    });
    groups.push({ rowBytes, offset: groupOffset, rowCount: (offset - groupOffset) / rowBytes, sections });
    offset = toPages(offset);
  }
  invariant(Number.isSafeInteger(offset), "a partition file exceeds 2^53 bytes");
  const dataBytes = offset - headerBytes;
  const blockCount = Math.ceil(dataBytes / BLOCK_BYTES);
  const footerBytes = blockCount * BLOCK_DIGEST_BYTES + TRAILER_BYTES;
  return {
    partitionCount,
    groups,
    sections: groups.flatMap((group) => group.sections),
    headerBytes,
    dataBytes,
    blockCount,
    footerBytes,
    fileBytes: offset + footerBytes,
  };
}

function toPages(bytes: number): number {
  return Math.ceil(bytes / FILE_PAGE_BYTES) * FILE_PAGE_BYTES;
}

/** "partitions/p-00017.rows", relative to the version directory. */
export function partitionPath(partition: number): string {
  return `partitions/p-${String(partition).padStart(5, "0")}.rows`;
}

/** Whether a file of a version is one of its partitions. */
export function isPartitionPath(path: string): boolean {
  return path.startsWith("partitions/");
}

/** Rows of a table that lie in a partition: ids with `id mod partitionCount === partition`. */
export function rowsInPartition(rows: number, partition: number, partitionCount: number): number {
  return rows <= partition ? 0 : Math.floor((rows - partition - 1) / partitionCount) + 1;
}

/**
 * Partitions for a version with `bytes` of rows: a prime, so that strided ids do not pile up; at least 61, so that a few
 * dozen shards share evenly; else such that a partition has about 128 MiB, or 256 MiB beyond 64 GiB, to keep files few.
 */
export function choosePartitionCount(bytes: number): number {
  const fine = Math.ceil(bytes / (128 * MIB));
  const wanted = fine <= 512 ? fine : Math.max(512, Math.ceil(bytes / (256 * MIB)));
  return Math.min(nextPrime(Math.max(PARTITIONS_MIN, wanted)), 131_071); // the largest prime within PARTITION_COUNT_MAX
}

function nextPrime(from: number): number {
  let candidate = from;
  while (!isPrime(candidate)) candidate++;
  return candidate;
}

function isPrime(value: number): boolean {
  for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false;
  return value >= 2;
}
