import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isServingError, ServingError } from "@shardserve/core";
import { proveFold, writeFold } from "@shardserve/exporter";
import type { EpochRecord } from "@shardserve/registry";
import {
  type EpochRef,
  foldPath,
  listFolds,
  readDeltaChain,
  readDeltaManifest,
  type StoredManifest,
} from "@shardserve/rowstore";
import { VERSION } from "../../version.js";

/** An exported version on the disk. */
export interface ExportedVersion {
  readonly versionDir: string;
  readonly base: StoredManifest;
}

export interface WrittenFold extends EpochRef {
  /** Deltas that it stands for, an older fold counted as one. */
  readonly deltas: number;
}

/**
 * Writes the fold of what is in force up to an epoch.
 *
 * @throws ServingError DIGEST_MISMATCH when the repository here has another delta of that epoch; those of writeFold
 */
export async function foldUpTo(
  { versionDir, base }: ExportedVersion,
  last: EpochRecord,
  signal: AbortSignal,
): Promise<WrittenFold> {
  const chain = await readDeltaChain(versionDir, base, last.epoch);
  if (chain.at(-1)?.digest !== last.digest)
    throw new ServingError(
      "DIGEST_MISMATCH",
      `${versionDir}: epoch ${last.epoch} here is not the one in force; is it the same model repository?`,
    );
  const ref = await writeFold(versionDir, base, chain, { writer: `shardserve ${VERSION}`, signal });
  return { ...ref, deltas: chain.length };
}

/** Folds behind the one in force that are whole, ascending: the leader takes them up. Those that are not are removed. */
export async function waitingFolds(
  versionDir: string,
  foldedUpTo: number,
  onDamage: (error: ServingError) => void,
): Promise<number[]> {
  const waiting: number[] = [];
  for (const epoch of (await listFolds(versionDir)).filter((one) => one > foldedUpTo)) {
    const directory = join(versionDir, foldPath(epoch));
    try {
      if (await readDeltaManifest(directory)) waiting.push(epoch);
    } catch (error) {
      if (!isServingError(error, "DELTA_INVALID")) throw error;
      onDamage(error);
      await rm(directory, { recursive: true, force: true }); // nobody reads it: the leader refused it too
    }
  }
  return waiting;
}

/**
 * Reads the fold in force as a whole, and writes it anew when it is damaged, from the deltas that it stands for.
 *
 * @returns what was wrong with it; undefined = nothing
 * @throws ServingError the damage, where those deltas are gone or give another fold
 */
export async function mendFold(
  on: ExportedVersion,
  inForce: EpochRecord,
  signal: AbortSignal,
): Promise<ServingError | undefined> {
  const damage = await proveFold(on.versionDir, on.base, inForce, signal).then(
    () => undefined,
    (error: unknown) => ServingError.from(error),
  );
  if (!damage) return undefined;
  signal.throwIfAborted();
  const directory = join(on.versionDir, foldPath(inForce.epoch));
  const aside = join(dirname(directory), `.${inForce.epoch}.damaged`);
  await rm(aside, { recursive: true, force: true });
  const isThere = await rename(directory, aside).then(
    () => true,
    () => false,
  );
  try {
    const { fold } = await foldUpTo(on, inForce, signal);
    if (fold !== inForce.fold) {
      await rm(directory, { recursive: true });
      throw new ServingError("DIGEST_MISMATCH", "another version of the program wrote it");
    }
  } catch (error) {
    if (isThere) await rename(aside, directory);
    signal.throwIfAborted();
    throw new ServingError(
      damage.code,
      `${damage.message}; it cannot be written anew (${ServingError.from(error).message}): copy it from a shard's --data-dir, or export the version as a whole`,
      { cause: error },
    );
  }
  await rm(aside, { recursive: true, force: true });
  return damage;
}
