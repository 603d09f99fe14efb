import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
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
import { type FoldAccess, readableFolds } from "./readable-folds.js";

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
    const directoryOf = (epoch: number) => join(this.versionDir, foldPath(epoch));
    const folds: FoldAccess = {
      read: (epoch) => readDeltaManifest(directoryOf(epoch)),
      remove: (epoch) => rm(directoryOf(epoch), { recursive: true, force: true }),
    };
    const waiting = (await listFolds(this.versionDir)).filter((epoch) => epoch > foldedUpTo);
    return readableFolds(waiting, folds, onDamage);
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
