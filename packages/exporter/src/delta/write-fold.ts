import { copyFile, link, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { invariant } from "@shardserve/core";
import {
  appliedBy,
  DeltaFile,
  DeltaRowsWriter,
  type DeltaSection,
  epochPath,
  type EpochRef,
  foldPath,
  refOf,
  rowsInPartition,
  type StoredDelta,
  type StoredManifest,
  type TableInfo,
  writeDeltaManifest,
} from "@shardserve/rowstore";
import { Staging, syncPath } from "../export/staging.js";
import { writeError } from "../write-error.js";

/** How a fold, one delta in the place of many, is written. */
export interface FoldOptions {
  /** Written into the manifest, such as "shardserve 0.1.0". */
  readonly writer: string;
  readonly signal?: AbortSignal;
}

/** The rows of one table in one partition that one delta of the chain has. */
interface Source {
  readonly file: DeltaFile;
  /** Offsets in the rows file. */
  readonly positionsAt: number;
  readonly rowsAt: number;
  readonly rowCount: number;
}

/** What a chain has of one table in one partition, oldest delta first. */
interface Merge {
  readonly sources: Source[];
  /** Distinct rows. */
  rowCount: number;
}

/**
 * Writes all that a chain of deltas changed as one: the last row of each id, the dense part and the sources of its end. The
 * fold has that epoch's identity and is read in place of the chain. What it is made of is proved by its checksums first;
 * memory is that of the changed rows of one table in one partition, and some for each delta, partition and table.
 *
 * @param chain  as readDeltaChain returns it, not empty; it may begin with an older fold
 * @throws ServingError OUTPUT_EXISTS when somebody else writes this fold, or did; CHECKSUM_MISMATCH and the like naming what
 *   is damaged; DISK_FULL
 */
export async function writeFold(
  versionDir: string,
  base: StoredManifest,
  chain: readonly StoredDelta[],
  { writer: name, signal }: FoldOptions,
): Promise<EpochRef> {
  const last = chain.at(-1);
  invariant(last, "a fold of no delta");
  const { tables, partitionCount } = base.manifest;
  const { epoch } = last.manifest;
  const target = join(versionDir, foldPath(epoch));
  const staging = await Staging.openNew(target);
  const files: DeltaFile[] = [];
  try {
    for (const stored of chain) files.push(await DeltaFile.open(join(versionDir, epochPath(refOf(stored))), tables));
    const found = await proveChain(files, base, last, signal);
    const { segments, changed } = await writeMerged(staging.dir, base, last, found, signal);
    const dense = chain.findLast(({ manifest }) => manifest.files.length > 0);
    if (dense) await takeFiles(join(versionDir, epochPath(refOf(dense))), staging.dir, dense);
    const applied = appliedBy(chain);
    const { sourceDigest, createdAtMs } = last.manifest;
    const ref = await writeDeltaManifest(staging.dir, {
      writer: name,
      epoch,
      baseDigest: base.digest,
      parent: { epoch: 0, digest: base.digest },
      sourceDigest,
      createdAtMs,
      partitionCount,
      tables: last.manifest.tables.map(({ rows: count }, table) => ({
        rows: count,
        changed: changed[table]!,
      })),
      segments,
      files: dense?.manifest.files ?? [],
      ...(applied.size > 0 && { applied: [...applied].map(([source, sequence]) => ({ source, sequence })) }),
      folded: last.digest,
    });
    await staging.publish();
    return ref;
  } catch (error) {
    await staging.abandon(false);
    throw signal?.aborted ? error : writeError(target, error);
  } finally {
    for (const file of files) await file[Symbol.asyncDispose]();
  }
}

/**
 * Reads and verifies all deltas, partition by partition.
 *
 * @returns by partition and table, what there is to merge; partitions without any rows are left out
 */
async function proveChain(
  files: readonly DeltaFile[],
  { manifest: { tables, partitionCount } }: StoredManifest,
  last: StoredDelta,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, readonly Merge[]>> {
  const merges = new Map<number, Merge[]>();
  for (let partition = 0; partition < partitionCount; partition++) {
    const found = await prove(files, tables, partition, rowsOf(last, partition), signal);
    if (found.some(({ rowCount }) => rowCount > 0)) merges.set(partition, found);
  }
  return merges;
}

/** Writes the rows file of the fold. @returns its segments, and how many rows of each table it has */
async function writeMerged(
  directory: string,
  { manifest: { tables, partitionCount } }: StoredManifest,
  last: StoredDelta,
  merges: ReadonlyMap<number, readonly Merge[]>,
  signal: AbortSignal | undefined,
) {
  const counts = [...merges].map(([partition, found]) => ({ partition, sections: sectionsOf(found, tables) }));
  const rows = await DeltaRowsWriter.create(directory, last.manifest.epoch, partitionCount, counts);
  try {
    const changed = tables.map(() => 0);
    for (const [table, { rowBytes }] of tables.entries()) {
      for (const [partition, ofPartition] of merges) {
        const merge = ofPartition[table]!;
        if (merge.rowCount === 0) continue;
        signal?.throwIfAborted();
        changed[table]! += merge.rowCount;
        const merged = await mergeRows(merge, rowBytes, rowsOf(last, partition)[table]!);
        await rows.append(table, partition, merged.positions, merged.rows);
        await nextTurn();
      }
    }
    return { segments: await rows.finish(), changed };
  } finally {
    await rows.close();
  }
}

function sectionsOf(merges: readonly Merge[], tables: readonly TableInfo[]): DeltaSection[] {
  return merges.flatMap(({ rowCount }, table) => {
    const { rowBytes } = tables[table]!;
    return rowCount > 0 ? [{ table, rowBytes, rowCount }] : [];
  });
}

/** Rows that each table has in a partition at the end of the chain. */
function rowsOf({ manifest }: StoredDelta, partition: number): number[] {
  return manifest.tables.map(({ rows }) => rowsInPartition(rows, partition, manifest.partitionCount));
}

/** Reads and verifies what all deltas have of one partition. @returns by table, what there is to merge */
async function prove(
  files: readonly DeltaFile[],
  tables: readonly TableInfo[],
  partition: number,
  rowCounts: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Merge[]> {
  const merges = tables.map((): Merge => ({ sources: [], rowCount: 0 }));
  const seen = new Map<number, Uint8Array>();
  for (const file of files) {
    const opened = await file.segment(partition);
    if (!opened) continue;
    await file.readRows(opened, () => undefined, { signal });
    const { layout, segment, positions } = opened;
    for (const [i, { table, rowCount }] of layout.sections.entries()) {
      const merge = merges[table]!;
      merge.sources.push({
        file,
        positionsAt: segment.offset + layout.positionOffsets[i]!,
        rowsAt: segment.offset + layout.headBytes + layout.rowOffsets[i]!,
        rowCount,
      });
      const isSeen = seen.get(table) ?? new Uint8Array(rowCounts[table]!);
      seen.set(table, isSeen);
      for (const position of positions[i]!) {
        if (isSeen[position] === 0) merge.rowCount++;
        isSeen[position] = 1;
      }
    }
  }
  return merges;
}

/**
 * The newest row of each position, ascending.
 *
 * @param rowsHere  rows of the table in the partition: positions are below it
 */
async function mergeRows(
  { sources, rowCount }: Merge,
  rowBytes: number,
  rowsHere: number,
): Promise<{ readonly positions: Uint32Array; readonly rows: Uint8Array }> {
  const columns: Uint32Array[] = [];
  const places = new Int32Array(rowsHere).fill(-1);
  for (const { file, positionsAt, rowCount: count } of sources) {
    const column = new Uint32Array(count);
    await file.readAt(positionsAt, new Uint8Array(column.buffer));
    for (const position of column) places[position] = 0;
    columns.push(column);
  }
  const positions = new Uint32Array(rowCount);
  for (let position = 0, place = 0; position < rowsHere; position++) {
    if (places[position] === -1) continue;
    positions[place] = position;
    places[position] = place++;
  }
  const rows = new Uint8Array(rowCount * rowBytes);
  for (const [i, { file, rowsAt, rowCount: count }] of sources.entries()) {
    const piece = Buffer.allocUnsafeSlow(count * rowBytes);
    await file.readAt(rowsAt, piece);
    const column = columns[i]!;
    for (let row = 0; row < count; row++)
      rows.set(piece.subarray(row * rowBytes, (row + 1) * rowBytes), places[column[row]!]! * rowBytes);
  }
  return { positions, rows };
}

/** The dense part of a delta, by links where the file system has them. */
async function takeFiles(from: string, to: string, { manifest }: StoredDelta): Promise<void> {
  for (const { path } of manifest.files) {
    const target = join(to, path);
    await mkdir(dirname(target), { recursive: true });
    try {
      await link(join(from, path), target);
    } catch (error) {
      if (!["EXDEV", "EPERM", "EMLINK", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      await copyFile(join(from, path), target);
      await syncPath(target);
    }
  }
}
