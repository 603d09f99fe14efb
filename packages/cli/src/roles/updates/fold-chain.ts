import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ServingError } from "@shardserve/core";
import { proveFold, writeFold } from "@shardserve/exporter";
import type { EpochRecord } from "@shardserve/registry";
import { type EpochRef, foldPath, readDeltaChain } from "@shardserve/rowstore";
import { VERSION } from "../../version.js";
import type { EpochPlace } from "./epoch-place.js";

export interface WrittenFold extends EpochRef {
  /** Deltas that it stands for, an older fold counted as one. */
  readonly deltas: number;
}

/**
 * Writes the fold of what is in force up to an epoch, and puts it where the leader finds it.
 *
 * @throws ServingError DIGEST_MISMATCH when the repository here has another delta of that epoch; those of writeFold
 */
export async function foldUpTo(place: EpochPlace, last: EpochRecord, signal: AbortSignal): Promise<WrittenFold> {
  await place.provide(last, "rows", signal);
  const written = await writeFoldHere(place, last, signal);
  await place.publish(foldPath(last.epoch), signal);
  return written;
}

async function writeFoldHere(
  { versionDir, base }: EpochPlace,
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

/**
 * Reads the fold in force as a whole, and writes it anew when it is damaged, from the deltas that it stands for.
 *
 * @returns what was wrong with it; undefined = nothing
 * @throws ServingError the damage, where those deltas are gone or give another fold
 */
export async function mendFold(
  place: EpochPlace,
  inForce: EpochRecord,
  signal: AbortSignal,
): Promise<ServingError | undefined> {
  const { versionDir, base } = place;
  const path = foldPath(inForce.epoch);
  const damage =
    (await place.provideAnew(path, signal)) ??
    (await proveFold(versionDir, base, inForce, signal).then(
      () => undefined,
      (error: unknown) => ServingError.from(error),
    ));
  if (!damage) return undefined;
  signal.throwIfAborted();
  const directory = join(versionDir, path);
  const aside = join(dirname(directory), `.${inForce.epoch}.damaged`);
  await rm(aside, { recursive: true, force: true });
  const isThere = await rename(directory, aside).then(
    () => true,
    () => false,
  );
  try {
    const { epoch, digest } = inForce;
    await place.provide({ epoch, digest }, "rows", signal, path);
    const { fold } = await writeFoldHere(place, inForce, signal);
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
  await place.replace(path, signal);
  return damage;
}
