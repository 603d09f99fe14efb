import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, ServingError } from "@shardserve/core";
import { type EpochRef, readDeltaManifest, refOf, type StoredDelta } from "./delta-manifest.js";
import { deltaPath, epochNumber, epochPath, foldPath } from "./delta-paths.js";
import type { Manifest, StoredManifest } from "../manifest/manifest.js";

/** The deltas that a version may have in force, a fold counted as one: more are refused, as every restart reads them all. */
export const CHAIN_LENGTH_MAX = 1000;

/**
 * Epochs that have a folder below `deltas/` of a version directory, ascending; whole or not. A version without that
 * folder has none.
 */
export function listEpochs(versionDir: string): Promise<number[]> {
  return numbersIn(join(versionDir, "deltas"));
}

/** As {@link listEpochs}, below `folds/`. */
export function listFolds(versionDir: string): Promise<number[]> {
  return numbersIn(join(versionDir, "folds"));
}

async function numbersIn(path: string): Promise<number[]> {
  const names = await readdir(path).catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw new ServingError("UNAVAILABLE", `cannot list ${path}: ${message}; check the disk and its rights`, {
      cause: error,
    });
  });
  return names
    .map(epochNumber)
    .filter((epoch) => epoch !== undefined)
    .sort((a, b) => a - b);
}

/**
 * The deltas that lead from a version as exported to an epoch, first to last, each checked to follow the one before. A fold
 * comes in the place of all deltas that it stands for; one that cannot be read is passed over where those are still there.
 *
 * @param epoch  0 = none
 * @throws ServingError NOT_FOUND when one is not there; DELTA_INVALID; DELTA_OUT_OF_ORDER when they do not form a chain
 */
export async function readDeltaChain(versionDir: string, base: StoredManifest, epoch: number): Promise<StoredDelta[]> {
  const folds = new Set(await listFolds(versionDir));
  const chain: StoredDelta[] = [];
  for (let wanted = epoch; wanted > 0; ) {
    const directory = join(versionDir, deltaPath(wanted));
    const fold = folds.has(wanted) ? await readFold(versionDir, wanted) : undefined;
    const isDamaged = fold instanceof ServingError;
    const isOther = !isDamaged && chain[0] && chain[0].manifest.parent.digest !== fold?.digest;
    const stored = fold && !isDamaged && !isOther ? fold : await readEpoch(directory, wanted);
    if (!stored && isDamaged) throw fold;
    if (!stored)
      throw new ServingError(
        "NOT_FOUND",
        `there is no delta in ${directory}, which epoch ${epoch} builds on; export the delta again`,
      );
    chain.unshift(stored);
    wanted = stored.manifest.parent.epoch;
  }
  let parent: EpochRef = { epoch: 0, digest: base.digest };
  for (const stored of chain) {
    const ref = refOf(stored);
    checkFollows(stored, base.manifest, parent, base.digest, join(versionDir, epochPath(ref)));
    parent = ref;
  }
  return chain;
}

/**
 * Refuses a delta that does not stand on this version and follow this epoch.
 *
 * @param where  names the delta in errors
 * @throws ServingError DELTA_OUT_OF_ORDER saying what it follows and what it should
 */
export function checkFollows(
  { manifest }: StoredDelta,
  base: Manifest,
  parent: EpochRef,
  baseDigest: string,
  where: string,
): void {
  const refuse = (why: string) => new ServingError("DELTA_OUT_OF_ORDER", `${where}: ${why}`, { details: { where } });
  if (manifest.baseDigest !== baseDigest) {
    throw refuse(
      `it changes version ${manifest.baseDigest}, this one is ${baseDigest}; export it against this version`,
    );
  }
  if (manifest.parent.epoch !== parent.epoch) {
    throw refuse(
      `it follows epoch ${manifest.parent.epoch}, the one before it here is ${parent.epoch}; a delta is missing or out of order`,
    );
  }
  if (manifest.parent.digest !== parent.digest) {
    throw refuse(
      `it follows another epoch ${parent.epoch} (${manifest.parent.digest}) than the one here (${parent.digest}); export it anew`,
    );
  }
  if (manifest.partitionCount !== base.partitionCount || manifest.tables.length !== base.tables.length) {
    throw refuse(
      `it has ${manifest.tables.length} tables in ${manifest.partitionCount} partitions, the version ${base.tables.length} in ${base.partitionCount}`,
    );
  }
}

/** A fold; undefined when it is not there, an error when it is and cannot be read. */
function readFold(versionDir: string, epoch: number): Promise<StoredDelta | ServingError | undefined> {
  return readEpoch(join(versionDir, foldPath(epoch)), epoch).catch((error: unknown) => {
    if (isServingError(error, "DELTA_INVALID", "DELTA_OUT_OF_ORDER")) return error;
    throw error;
  });
}

/** Reads the manifest of a delta or fold; undefined when it is not there, or not whole yet. */
async function readEpoch(directory: string, epoch: number): Promise<StoredDelta | undefined> {
  const stored = await readDeltaManifest(directory);
  if (stored && stored.manifest.epoch !== epoch)
    throw new ServingError(
      "DELTA_OUT_OF_ORDER",
      `${directory} holds epoch ${stored.manifest.epoch}; a delta lies in the folder of its epoch`,
    );
  return stored;
}

/** The newest epoch of a version directory that is whole; 0 = none. A folder without a manifest is still being written. */
export async function newestEpoch(versionDir: string): Promise<number> {
  for (const epoch of (await listEpochs(versionDir)).reverse()) {
    if (await readDeltaManifest(join(versionDir, deltaPath(epoch)))) return epoch;
  }
  return (await listFolds(versionDir)).at(-1) ?? 0; // all deltas before it may be gone
}

/** How far each source's streamed updates are after a chain of deltas: only an epoch that brought some says so. */
export function appliedBy(chain: readonly StoredDelta[]): ReadonlyMap<string, number> {
  const applied = chain.findLast(({ manifest }) => manifest.applied)?.manifest.applied ?? [];
  return new Map(applied.map(({ source, sequence }) => [source, sequence]));
}
