import { rm } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, ServingError } from "@shardserve/core";
import { forgetFolded } from "@shardserve/exporter";
import {
  foldPath,
  listEpochs,
  listFolds,
  readDeltaManifest,
  readManifest,
  type StoredManifest,
} from "@shardserve/rowstore";
import { versionDirectory } from "../versions/version-directory.js";
import type { EpochPlace, EpochPlaces } from "./epoch-place.js";

/** A version in a folder that every process sees: what is written there is there, by a rename. */
class FolderPlace implements EpochPlace {
  readonly versionDir: string;
  readonly base: StoredManifest;

  constructor(versionDir: string, base: StoredManifest) {
    this.versionDir = versionDir;
    this.base = base;
  }

  async newestTaken(): Promise<number> {
    return (await listEpochs(this.versionDir)).at(-1) ?? 0;
  }

  async provide(): Promise<void> {}

  async publish(): Promise<void> {}

  async waitingFolds(foldedUpTo: number, onDamage: (error: ServingError) => void): Promise<number[]> {
    const waiting: number[] = [];
    for (const epoch of (await listFolds(this.versionDir)).filter((one) => one > foldedUpTo)) {
      const directory = join(this.versionDir, foldPath(epoch));
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

  forgetFolded(inForce: number): Promise<number> {
    return forgetFolded(this.versionDir, inForce);
  }

  provideAnew(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async replace(): Promise<void> {}
}

/** The versions BASE/NAME/VERSION below a folder. */
export class FolderPlaces implements EpochPlaces {
  readonly #repository: string;

  constructor(repository: string) {
    this.#repository = repository;
  }

  async open(model: string, version: number): Promise<FolderPlace> {
    const versionDir = await versionDirectory(this.#repository, model, version);
    const base = await readManifest(versionDir);
    if (!base) throw new ServingError("NOT_FOUND", `${versionDir} holds no exported version`);
    return new FolderPlace(versionDir, base);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
