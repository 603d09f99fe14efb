import type { ServingError } from "@shardserve/core";
import type { EpochRef, StoredManifest } from "@shardserve/rowstore";

/**
 * Where the epochs of one exported version are written: a folder that everybody sees, or an object store. They are read and
 * written in a directory of this machine; `provide` brings there what is only elsewhere, `publish` brings what was written there
 * to where the leader and the shards find it.
 */
export interface EpochPlace {
  readonly versionDir: string;
  readonly base: StoredManifest;
  /** The newest number of an epoch that somebody took for a delta, whole or not; 0 = none. */
  newestTaken(signal: AbortSignal): Promise<number>;
  /**
   * Makes what leads to an epoch readable in the directory.
   *
   * @param last     in force, or what something in force follows
   * @param needs    manifests alone, or their rows and dense parts too
   * @param without  path of a fold that is not to be used
   * @throws ServingError NOT_FOUND when a part of it is nowhere; DIGEST_MISMATCH; UNAVAILABLE
   */
  provide(last: EpochRef, needs: "manifests" | "rows", signal: AbortSignal, without?: string): Promise<void>;
  /**
   * Puts a delta or fold in force's reach, whole or not at all.
   *
   * @param path  below the directory, in which it is whole
   * @throws ServingError OUTPUT_EXISTS when another is there, or is being put there; UNAVAILABLE
   */
  publish(path: string, signal: AbortSignal): Promise<void>;
  /** Folds behind the one in force that are whole, ascending: the leader takes them up. Those that are damaged are removed. */
  waitingFolds(foldedUpTo: number, onDamage: (error: ServingError) => void, signal: AbortSignal): Promise<number[]>;
  /** Removes what nobody reads any more. @returns how many deltas that were */
  forgetFolded(inForce: number, signal: AbortSignal): Promise<number>;
  /**
   * Makes the directory have a fold as it is where everybody reads it.
   *
   * @returns why it cannot be read there: it is damaged; undefined = it was brought, and is to be proved
   * @throws ServingError UNAVAILABLE, which says nothing of the fold
   */
  provideAnew(path: string, signal: AbortSignal): Promise<ServingError | undefined>;
  /** As `publish`, in the place of one that is damaged. */
  replace(path: string, signal: AbortSignal): Promise<void>;
}

/** Opens the places of a model repository's versions. */
export interface EpochPlaces extends AsyncDisposable {
  /** @throws ServingError NOT_FOUND when the repository holds no such version; UNAVAILABLE */
  open(model: string, version: number, signal: AbortSignal): Promise<EpochPlace>;
}
