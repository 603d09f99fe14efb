import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Logger, ServingError } from "@shardserve/core";
import { fileDigest, isPartitionPath, MANIFEST_FILE, type ManifestFile, readManifest } from "@shardserve/rowstore";
import { type ServableId, servableIdText } from "@shardserve/servable";
import { CopiedFiles, RepositoryFiles, StaleCopies, type VersionFiles } from "@shardserve/shard";
import type { ModelRepository } from "../flags/repository-flags.js";
import type { StoredRepository } from "./stored-repository.js";
import { versionDirectory } from "./version-directory.js";

/** Below the data directory: nothing else in it is ever touched. */
const COPIES_DIR = "shardserve-dense";

/** What executors read of versions: manifests, dense parts, and of deltas also which rows changed. Their rows come from shards. */
export interface DenseFiles {
  /**
   * The files of a version, with its manifest and its dense part readable; the files of deltas are provided by who reads them.
   *
   * @throws ServingError NOT_FOUND, UNAVAILABLE; CHECKSUM_MISMATCH naming the file; the signal's reason
   */
  open(id: ServableId, signal: AbortSignal): Promise<VersionFiles>;
  /** What was opened could not be loaded: the next time all is looked at anew. */
  distrust(id: ServableId): void;
  /** A version is not loaded any more, nor wanted. */
  remove(id: ServableId): Promise<void>;
  /** The registry names these versions, all that there are now: what went while the process was down can go. */
  removeBeside(named: readonly { readonly model: string; readonly version: number }[]): void;
}

/** @param dataDir  folder of this process alone, for copies of what an object store holds */
export function openDenseFiles({ base, stored }: ModelRepository, dataDir: string, logger: Logger): DenseFiles {
  return stored ? new CopiedDenseFiles(stored, resolve(dataDir), logger) : new FolderDenseFiles(base);
}

/** In the folders of a repository that this machine sees. */
class FolderDenseFiles implements DenseFiles {
  readonly #repository: string;

  constructor(repository: string) {
    this.#repository = repository;
  }

  async open({ name, version }: ServableId): Promise<VersionFiles> {
    return new RepositoryFiles(await versionDirectory(this.#repository, name, version));
  }

  distrust(): void {}
  async remove(): Promise<void> {}
  removeBeside(): void {}
}

/**
 * Copies, from a repository in an object store, proved by the digests of the manifest. An executor that starts while the store is away
 * loads what it has: shards refuse it when that is another version than theirs.
 */
export class CopiedDenseFiles implements DenseFiles {
  readonly #repository: StoredRepository;
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #stale: StaleCopies;
  /** By servable: open, or on their way. */
  readonly #opened = new Map<string, Promise<CopiedFiles>>();

  /** @param dataDir  folder of this process alone */
  constructor(repository: StoredRepository, dataDir: string, logger: Logger) {
    this.#repository = repository;
    this.#directory = join(dataDir, COPIES_DIR);
    this.#logger = logger;
    this.#stale = new StaleCopies(this.#directory, logger);
  }

  open(id: ServableId, signal: AbortSignal): Promise<VersionFiles> {
    const key = servableIdText(id);
    let files = this.#opened.get(key);
    if (!files) {
      files = this.#open(id, signal);
      this.#opened.set(key, files);
      files.catch(() => this.distrust(id));
    }
    return files;
  }

  distrust(id: ServableId): void {
    this.#opened.delete(servableIdText(id));
  }

  async remove(id: ServableId): Promise<void> {
    this.distrust(id);
    await rm(this.#directoryOf(id), { recursive: true, force: true });
  }

  removeBeside(named: readonly { readonly model: string; readonly version: number }[]): void {
    this.#stale.removeBeside(named);
  }

  async #open(id: ServableId, signal: AbortSignal): Promise<CopiedFiles> {
    const logger = this.#logger;
    const repository = this.#repository.version(id.name, id.version);
    const directory = this.#directoryOf(id);
    const roomCure = "make room there, or give --data-dir another folder";
    const onCopied = () => undefined;
    const files = new CopiedFiles({ directory, peers: () => [], repository, roomCure, onCopied, logger });
    await files.provide(MANIFEST_FILE, signal);
    const stored = await readManifest(files.directory);
    if (stored) await files.dropOutdated(stored);
    for (const file of stored?.manifest.files ?? []) {
      if (!isPartitionPath(file.path)) await provideProved(files, "", file, signal);
    }
    return files;
  }

  #directoryOf({ name, version }: ServableId): string {
    return join(this.#directory, name, String(version));
  }
}

/**
 * Makes a file readable and compares it with the digest that a manifest names.
 *
 * @param folder  of the manifest, relative to the version
 * @throws ServingError CHECKSUM_MISMATCH naming the file, which is then fetched anew the next time; as VersionFiles.provide
 */
export async function provideProved(
  files: VersionFiles,
  folder: string,
  { path, digest }: ManifestFile,
  signal: AbortSignal,
): Promise<void> {
  const relative = join(folder, path);
  await files.provide(relative, signal);
  const file = join(files.directory, relative);
  const found = await fileDigest(file, { signal }).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new ServingError("NOT_FOUND", `cannot read ${file}: ${(cause as Error).message}`, { cause });
  });
  if (found === digest) return;
  await files.discard(relative);
  throw new ServingError(
    "CHECKSUM_MISMATCH",
    `${file} has digest ${found}, its manifest says ${digest}; copy it again or export anew`,
    { details: { path: file } },
  );
}
