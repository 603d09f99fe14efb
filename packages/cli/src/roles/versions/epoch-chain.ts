import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import type { ChangedRows } from "@shardserve/lookup";
import type { EpochRecord } from "@shardserve/registry";
import {
  checkFollows,
  DELTA_DENSE_DIR,
  DeltaFile,
  epochPath,
  type EpochRef,
  fileDigest,
  readDeltaManifest,
  refOf,
  type StoredDelta,
  type StoredManifest,
  type TableInfo,
  tablesAt,
} from "@shardserve/rowstore";

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
  readonly tables: readonly TableInfo[];
}

/**
 * Reads what an epoch consists of, and proves its dense part.
 *
 * @param chain  the deltas that lead to it, as the leader committed them
 * @throws ServingError NOT_FOUND, DELTA_INVALID, DELTA_OUT_OF_ORDER; DIGEST_MISMATCH when the repository here has another
 *   delta; CHECKSUM_MISMATCH naming the file
 */
export async function openEpoch(
  versionDir: string,
  base: StoredManifest,
  chain: readonly EpochRecord[],
): Promise<EpochOnDisk> {
  let parent: EpochRef = { epoch: 0, digest: base.digest };
  let denseDir = versionDir;
  let last: StoredDelta | undefined;
  for (const ref of chain) {
    const directory = join(versionDir, epochPath(ref));
    last = await readDelta(directory, ref);
    checkFollows(last, base.manifest, parent, base.digest, directory);
    if (last.manifest.files.length > 0) denseDir = join(directory, DELTA_DENSE_DIR);
    parent = ref;
  }
  const dense = chain.findLast((ref) => denseDir === join(versionDir, epochPath(ref), DELTA_DENSE_DIR));
  if (dense) await proveDense(join(versionDir, epochPath(dense)), dense);
  return { epoch: parent.epoch, chain, denseDir, tables: tablesAt(base.manifest.tables, last?.manifest) };
}

/**
 * Rows that differ between two epochs: those of the deltas behind the newest epoch that both have.
 *
 * @returns undefined when there are so many that it is better to forget all, or when that epoch lies within a fold
 * @throws as {@link openEpoch}
 */
export async function changedBetween(
  versionDir: string,
  base: StoredManifest,
  from: EpochOnDisk,
  to: EpochOnDisk,
): Promise<ChangedRows | undefined> {
  const isIn = ({ chain }: EpochOnDisk, { epoch, digest }: EpochRecord) =>
    chain.some((ref) => ref.epoch === epoch && ref.digest === digest);
  const shared = from.chain.findLast((ref) => isIn(to, ref))?.epoch ?? 0;
  const differing = [...from.chain, ...to.chain].filter(({ epoch }) => epoch > shared);
  if (differing.some(({ fold }) => fold !== undefined) && from.epoch > 0 && to.epoch > 0) return undefined;
  const found = new Map<number, BigInt64Array[]>();
  let count = 0;
  for (const ref of differing) {
    await using delta = await DeltaFile.open(join(versionDir, epochPath(ref)), base.manifest.tables);
    if (delta.digest !== ref.digest || delta.fold !== ref.fold) throw otherDelta(delta.directory, delta.digest, ref);
    count += delta.manifest.tables.reduce((sum, { changed }) => sum + changed, 0);
    if (count > CHANGED_ROWS_MAX) return undefined;
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

async function readDelta(directory: string, ref: EpochRecord): Promise<StoredDelta> {
  const stored = await readDeltaManifest(directory);
  if (!stored) throw new ServingError("NOT_FOUND", `${directory} has no delta; is the model repository mounted here?`);
  if (stored.digest !== ref.digest || stored.fold !== ref.fold) throw otherDelta(directory, stored.digest, ref);
  return stored;
}

function otherDelta(directory: string, digest: string, ref: EpochRecord): ServingError {
  return new ServingError(
    "DIGEST_MISMATCH",
    `${directory}: its manifest has digest ${digest}, epoch ${ref.epoch} in force is ${ref.digest}; is it the same model repository?`,
  );
}

async function proveDense(directory: string, ref: EpochRecord): Promise<void> {
  const { manifest } = await readDelta(directory, ref);
  for (const { path, digest } of manifest.files) {
    const file = join(directory, path);
    const found = await fileDigest(file).catch((cause: unknown) => {
      throw new ServingError("NOT_FOUND", `cannot read ${file}: ${(cause as Error).message}`, { cause });
    });
    if (found === digest) continue;
    throw new ServingError(
      "CHECKSUM_MISMATCH",
      `${file} has digest ${found}, the delta's manifest says ${digest}; copy the delta again or export it anew`,
      { details: { path: file } },
    );
  }
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
