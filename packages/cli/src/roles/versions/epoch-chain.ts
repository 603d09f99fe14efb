import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import type { ChangedRows } from "@shardserve/lookup";
import type { EpochRecord } from "@shardserve/registry";
import {
  checkFollows,
  DELTA_DENSE_DIR,
  DELTA_MANIFEST_FILE,
  DELTA_ROWS_FILE,
  DeltaFile,
  epochPath,
  type EpochRef,
  readDeltaManifest,
  refOf,
  type StoredDelta,
  type StoredManifest,
  type TableInfo,
  tablesAt,
} from "@shardserve/rowstore";
import type { VersionFiles } from "@shardserve/shard";
import { provideProved } from "./dense-files.js";

/**
 * Changed rows above which the whole cache is dropped instead: to look for so many would keep the event loop for more than
 * about 10 ms.
 */
const CHANGED_ROWS_MAX = 262_144;

/** An epoch of a version as an executor needs it. */
export interface EpochOnDisk {
  readonly epoch: number;
  readonly chain: readonly EpochRecord[];
  /** Directory of the dense SavedModel. */
  readonly denseDir: string;
  /** Of the manifest that names the files there: the same for as long as they are. */
  readonly denseDigest: string;
  readonly tables: readonly TableInfo[];
}

/**
 * Reads what an epoch consists of, and proves its dense part.
 *
 * @param chain  the deltas that lead to it, as the leader committed them
 * @param before  an epoch that was opened: a dense part that both have is not proved again
 * @throws ServingError NOT_FOUND, DELTA_INVALID, DELTA_OUT_OF_ORDER; DIGEST_MISMATCH when the repository here has another
 *   delta; CHECKSUM_MISMATCH naming the file
 */
export async function openEpoch(
  files: VersionFiles,
  base: StoredManifest,
  chain: readonly EpochRecord[],
  signal: AbortSignal,
  before?: EpochOnDisk,
): Promise<EpochOnDisk> {
  const versionDir = files.directory;
  let parent: EpochRef = { epoch: 0, digest: base.digest };
  let dense: StoredDelta | undefined;
  let last: StoredDelta | undefined;
  for (const ref of chain) {
    const directory = join(versionDir, epochPath(ref));
    last = await readDelta(files, ref, signal);
    checkFollows(last, base.manifest, parent, base.digest, directory);
    if (last.manifest.files.length > 0) dense = last;
    parent = ref;
  }
  const denseDigest = dense?.fold ?? dense?.digest ?? base.digest;
  if (dense && denseDigest !== before?.denseDigest) await provideDense(files, dense, signal);
  return {
    epoch: parent.epoch,
    chain,
    denseDir: dense ? join(versionDir, epochPath(refOf(dense)), DELTA_DENSE_DIR) : versionDir,
    denseDigest,
    tables: tablesAt(base.manifest.tables, last?.manifest),
  };
}

/**
 * Rows that differ between two epochs: those of the deltas behind the newest epoch that both have.
 *
 * @returns undefined when there are so many that it is better to forget all, or when that epoch lies within a fold
 * @throws as {@link openEpoch}
 */
export async function changedBetween(
  files: VersionFiles,
  base: StoredManifest,
  from: EpochOnDisk,
  to: EpochOnDisk,
  signal: AbortSignal,
): Promise<ChangedRows | undefined> {
  const isIn = ({ chain }: EpochOnDisk, { epoch, digest }: EpochRecord) =>
    chain.some((ref) => ref.epoch === epoch && ref.digest === digest);
  const shared = from.chain.findLast((ref) => isIn(to, ref))?.epoch ?? 0;
  const differing = [...from.chain, ...to.chain].filter(({ epoch }) => epoch > shared);
  if (differing.some(({ fold }) => fold !== undefined) && from.epoch > 0 && to.epoch > 0) return undefined;
  const found = new Map<number, BigInt64Array[]>();
  let count = 0;
  for (const ref of differing) {
    const { manifest } = await readDelta(files, ref, signal);
    count += manifest.tables.reduce((sum, { changed }) => sum + changed, 0);
    if (count > CHANGED_ROWS_MAX) return undefined;
    if (manifest.segments.length > 0) await files.provide(`${epochPath(ref)}/${DELTA_ROWS_FILE}`, signal);
    await using delta = await DeltaFile.open(join(files.directory, epochPath(ref)), base.manifest.tables);
    for (const partition of delta.partitions) {
      const opened = await delta.segment(partition);
      opened?.layout.sections.forEach(({ table }, i) => {
        const columns = found.get(table) ?? [];
        found.set(table, columns);
        columns.push(idsOf(opened.positions[i] as Uint32Array, partition, base.manifest.partitionCount));
      });
    }
  }
  return new Map([...found].map(([table, columns]) => [table, joined(columns)]));
}

/** A chain that was read, as the registry names it. */
export function refsOf(chain: readonly StoredDelta[]): EpochRecord[] {
  return chain.map(refOf);
}

async function readDelta(files: VersionFiles, ref: EpochRecord, signal: AbortSignal): Promise<StoredDelta> {
  const path = `${epochPath(ref)}/${DELTA_MANIFEST_FILE}`;
  const directory = join(files.directory, epochPath(ref));
  await files.provide(path, signal);
  const stored = await readDeltaManifest(directory);
  if (!stored) throw new ServingError("NOT_FOUND", `${directory} has no delta; is the model repository mounted here?`);
  if (stored.digest === ref.digest && stored.fold === ref.fold) return stored;
  await files.discard(path);
  throw new ServingError(
    "DIGEST_MISMATCH",
    `${directory}: its manifest has digest ${stored.digest}, epoch ${ref.epoch} in force is ${ref.digest}; is it the same model repository?`,
  );
}

async function provideDense(files: VersionFiles, delta: StoredDelta, signal: AbortSignal): Promise<void> {
  for (const file of delta.manifest.files) await provideProved(files, epochPath(refOf(delta)), file, signal);
}

function idsOf(positions: Uint32Array, partition: number, partitionCount: number): BigInt64Array {
  const lanes = new Int32Array(positions.length * 2);
  for (let i = 0; i < positions.length; i++) {
    const id = (positions[i] as number) * partitionCount + partition;
    const high = Math.floor(id / 0x1_0000_0000);
    lanes[2 * i] = id - high * 0x1_0000_0000;
    lanes[2 * i + 1] = high;
  }
  return new BigInt64Array(lanes.buffer);
}

function joined(columns: readonly BigInt64Array[]): BigInt64Array {
  const all = new BigInt64Array(columns.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const column of columns) {
    all.set(column, at);
    at += column.length;
  }
  return all;
}
