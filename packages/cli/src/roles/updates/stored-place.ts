import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { inParallel, isServingError, type Logger, ServingError, silentProgress } from "@shardserve/core";
import { forgettable, publish, removeStored } from "@shardserve/exporter";
import { childUri, parseStoreUri, type ObjectStore, type StoreUri, type Stores } from "@shardserve/object-store";
import {
  DELTA_MANIFEST_FILE,
  DELTA_ROWS_FILE,
  deltaPath,
  EPOCH_FOLDERS,
  epochNumber,
  type EpochRef,
  foldPath,
  listEpochs,
  listFolds,
  readDeltaManifest,
  type StoredDelta,
  type StoredManifest,
} from "@shardserve/rowstore";
import type { CopiedFiles } from "@shardserve/shard";
import { copyEpoch, READS_MAX } from "../versions/version-copy.js";
import type { EpochPlace } from "./epoch-place.js";
import { type FoldAccess, readableFolds } from "./readable-folds.js";

const [DELTAS, FOLDS] = EPOCH_FOLDERS;

export interface StoredPlaceOptions {
  readonly stores: Stores;
  /** Of the version. */
  readonly uri: string;
  /** Copies what is in the store into the directory. */
  readonly files: CopiedFiles;
  readonly base: StoredManifest;
  /** Called when something was published; never rejects. */
  readonly announce: (signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
}

/**
 * A version in an object store. What is written goes there with its manifest last, on the condition that none is there; the
 * directory has copies, which are compared by digest with what is meant before they are used.
 */
export class StoredPlace implements EpochPlace {
  readonly versionDir: string;
  readonly base: StoredManifest;
  readonly #options: StoredPlaceOptions;
  readonly #place: StoreUri;

  constructor(options: StoredPlaceOptions) {
    this.versionDir = options.files.directory;
    this.base = options.base;
    this.#options = options;
    this.#place = parseStoreUri(options.uri);
  }

  /** Removes copies of what never got into the store: a process that was killed wrote it, and nobody was told of it. */
  async dropUnpublished(signal: AbortSignal): Promise<void> {
    const there = new Set(await this.#numbers(DELTAS, signal));
    for (const epoch of await listEpochs(this.versionDir))
      if (!there.has(epoch)) await this.#forgetCopy(deltaPath(epoch));
    for (const epoch of await listFolds(this.versionDir))
      if (!(await this.#isWhole(foldPath(epoch), signal))) await this.#forgetCopy(foldPath(epoch));
    for (const folder of EPOCH_FOLDERS) {
      const names = await readdir(join(this.versionDir, folder)).catch(() => []); // there is none yet
      for (const name of names.filter((one) => one.startsWith("."))) await this.#forgetCopy(`${folder}/${name}`);
    }
  }

  async newestTaken(signal: AbortSignal): Promise<number> {
    const here = await listEpochs(this.versionDir);
    return Math.max(0, here.at(-1) ?? 0, (await this.#numbers(DELTAS, signal)).at(-1) ?? 0);
  }

  async provide(last: EpochRef, needs: "manifests" | "rows", signal: AbortSignal, without?: string): Promise<void> {
    const folds = (await this.#numbers(FOLDS, signal)).filter((epoch) => foldPath(epoch) !== without);
    await this.#fetchManifests(folds, last.epoch, signal);
    for (let wanted = last; wanted.epoch > 0; ) {
      const fold = folds.includes(wanted.epoch) ? await this.#bring(foldPath(wanted.epoch), wanted, signal) : undefined;
      const found = fold ?? (await this.#bring(deltaPath(wanted.epoch), wanted, signal));
      const path = (fold ? foldPath : deltaPath)(wanted.epoch);
      if (!found)
        throw new ServingError(
          "NOT_FOUND",
          `${this.#options.uri} has no ${path} with digest ${wanted.digest}, which epoch ${last.epoch} builds on`,
        );
      if (needs === "rows") await copyEpoch(this.#options.files, path, signal);
      wanted = found.manifest.parent;
    }
  }

  async publish(path: string, signal: AbortSignal): Promise<void> {
    const { stores, uri, announce, logger } = this.#options;
    const to = { stores, uri: childUri(uri, path), manifest: DELTA_MANIFEST_FILE, progress: silentProgress };
    try {
      await publish(join(this.versionDir, path), { ...to, logger, signal });
    } catch (error) {
      await this.#forgetCopy(path); // whatever is there is brought from there
      throw error;
    }
    await announce(signal);
  }

  async waitingFolds(
    foldedUpTo: number,
    onDamage: (error: ServingError) => void,
    signal: AbortSignal,
  ): Promise<number[]> {
    const folds: FoldAccess = {
      read: async (epoch) => {
        const path = foldPath(epoch);
        if (!(await this.#isWhole(path, signal))) return undefined;
        await this.#options.files.forget(`${path}/${DELTA_MANIFEST_FILE}`); // the leader's is meant, not ours
        return this.#manifest(path, signal);
      },
      remove: (epoch) => this.#remove(foldPath(epoch), signal),
    };
    const waiting = (await this.#numbers(FOLDS, signal)).filter((epoch) => epoch > foldedUpTo);
    return readableFolds(waiting, folds, onDamage);
  }

  async forgetFolded(inForce: number, signal: AbortSignal): Promise<number> {
    const numbers = await this.#numbers(FOLDS, signal);
    const whole: number[] = [];
    for (const epoch of numbers) if (await this.#isWhole(foldPath(epoch), signal)) whole.push(epoch);
    const begun = numbers.filter((epoch) => epoch < inForce && !whole.includes(epoch));
    const { deltas, folds } = forgettable(whole, await this.#numbers(DELTAS, signal), inForce);
    for (const path of [...deltas.map(deltaPath), ...[...folds, ...begun].map(foldPath)])
      await this.#remove(path, signal);
    return deltas.length;
  }

  async provideAnew(path: string, signal: AbortSignal): Promise<ServingError | undefined> {
    const { files, uri } = this.#options;
    const store = await this.#store();
    await this.#forgetCopy(path);
    try {
      const found = (await this.#isWhole(path, signal)) && (await this.#manifest(path, signal));
      if (!found) return new ServingError("NOT_FOUND", `${uri}/${path} has no ${DELTA_MANIFEST_FILE}`);
      for (const file of filesOf(found))
        if (!(await store.find(this.#place, `${path}/${file}`, signal)))
          return new ServingError("NOT_FOUND", `there is no ${uri}/${path}/${file}`);
      await copyEpoch(files, path, signal);
      return undefined;
    } catch (error) {
      if (isServingError(error, "DELTA_INVALID", "CHECKSUM_MISMATCH")) return error;
      throw error;
    }
  }

  async replace(path: string, signal: AbortSignal): Promise<void> {
    await removeStored(await this.#store(), this.#below(path), DELTA_MANIFEST_FILE, signal);
    await this.publish(path, signal);
  }

  /** Many at once, of what will be asked for one after another. What cannot be had is asked for again then, if it is needed. */
  async #fetchManifests(folds: readonly number[], last: number, signal: AbortSignal): Promise<void> {
    const from = folds.findLast((epoch) => epoch <= last) ?? 0;
    const between = (await this.#numbers(DELTAS, signal)).filter((epoch) => epoch > from && epoch <= last);
    await inParallel(between, READS_MAX, async (epoch) => {
      await this.#manifest(deltaPath(epoch), signal).catch(() => signal.throwIfAborted());
    });
  }

  /** The manifest of that digest; undefined when there is none, or another. */
  async #bring(path: string, { digest }: EpochRef, signal: AbortSignal): Promise<StoredDelta | undefined> {
    for (let isAgain = false; ; isAgain = true) {
      const found = await this.#manifest(path, signal).catch((error: unknown) => {
        if (!isServingError(error, "DELTA_INVALID")) throw error;
        return undefined;
      });
      if (found?.digest === digest) return found;
      await this.#forgetCopy(path); // an older copy may be of something that never got there
      if (isAgain) return undefined;
    }
  }

  /** @returns undefined when it is not in the store */
  async #manifest(path: string, signal: AbortSignal): Promise<StoredDelta | undefined> {
    const directory = join(this.versionDir, path);
    const here = await readDeltaManifest(directory).catch(() => undefined); // a damaged copy is brought anew
    if (here) return here;
    if (!(await this.#isWhole(path, signal))) return undefined;
    await this.#forgetCopy(path);
    await this.#options.files.provide(`${path}/${DELTA_MANIFEST_FILE}`, signal);
    return readDeltaManifest(directory);
  }

  /** Whether everything that it consists of was put: its manifest comes last. */
  async #isWhole(path: string, signal: AbortSignal): Promise<boolean> {
    const store = await this.#store();
    return (await store.find(this.#place, `${path}/${DELTA_MANIFEST_FILE}`, signal)) !== undefined;
  }

  async #remove(path: string, signal: AbortSignal): Promise<void> {
    await removeStored(await this.#store(), this.#below(path), DELTA_MANIFEST_FILE, signal);
    await this.#forgetCopy(path);
  }

  async #forgetCopy(path: string): Promise<void> {
    await rm(join(this.versionDir, path), { recursive: true, force: true });
  }

  /** Epochs that have a folder, ascending; whole or not. */
  async #numbers(folder: string, signal: AbortSignal): Promise<number[]> {
    const { folders } = await (await this.#store()).children(this.#below(folder), signal);
    const numbers = folders.map(epochNumber);
    return numbers.filter((epoch) => epoch !== undefined).sort((a, b) => a - b);
  }

  #below(path: string): StoreUri {
    return parseStoreUri(childUri(this.#options.uri, path));
  }

  #store(): Promise<ObjectStore> {
    return this.#options.stores.of(this.#place);
  }
}

/** What a delta or fold consists of beside its manifest, in its folder. */
function filesOf({ manifest }: StoredDelta): string[] {
  const rows = manifest.segments.length > 0 ? [DELTA_ROWS_FILE] : [];
  return [...rows, ...manifest.files.map(({ path }) => path)];
}
