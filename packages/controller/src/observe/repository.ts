import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, ServingError, silentLogger } from "@shardserve/core";
import type { VersionPolicy } from "@shardserve/registry";
import { MANIFEST_FILE, readManifest } from "@shardserve/rowstore";
import { DeltaFolders } from "./delta-folders.js";
import { contentsOf, type VersionContents } from "./version-contents.js";

/** Versions on disk, by model and number. */
export type RepositoryContents = ReadonlyMap<string, ReadonlyMap<number, VersionContents>>;

interface ReadManifest {
  readonly stamp: string;
  readonly contents: VersionContents | undefined;
}

/**
 * The model repository: `BASE/NAME/VERSION/shardserve.manifest`. A version without a manifest is not finished, or not
 * sharded, and is none of the controller's business.
 */
export class Repository {
  readonly #baseDir: string;
  readonly #logger: Logger;
  readonly #refresh: (signal: AbortSignal) => Promise<void>;
  readonly #deltas: DeltaFolders;
  /** Manifests that were read, by path; read again only when size or time of change differ. */
  #known = new Map<string, ReadManifest>();

  /** @param options  `refresh`: what is to happen before each look; one look at a time */
  constructor(
    baseDir: string,
    options: { readonly logger?: Logger; readonly refresh?: (signal: AbortSignal) => Promise<void> } = {},
  ) {
    this.#baseDir = baseDir;
    this.#refresh = options.refresh ?? (async () => undefined);
    this.#logger = options.logger ?? silentLogger;
    this.#deltas = new DeltaFolders(this.#logger);
  }

  /**
   * Looks at the folders. A manifest that cannot be read is logged once; what it said before holds.
   *
   * @throws ServingError NOT_FOUND without the base folder, UNAVAILABLE when the disk fails: both are no wish to unload
   */
  async scan(options: { readonly signal?: AbortSignal } = {}): Promise<RepositoryContents> {
    await this.#refresh(options.signal ?? new AbortController().signal);
    const found = new Map<string, Map<number, VersionContents>>();
    const known = new Map<string, ReadManifest>();
    const models = await foldersIn(this.#baseDir);
    if (!models) {
      throw new ServingError(
        "NOT_FOUND",
        `model repository: there is no folder ${this.#baseDir}; create it or name another`,
      );
    }
    for (const model of models) {
      options.signal?.throwIfAborted();
      const versions = new Map<number, VersionContents>();
      for (const name of (await foldersIn(join(this.#baseDir, model))) ?? []) {
        if (!/^\d{1,16}$/.test(name) || !Number.isSafeInteger(Number(name))) continue;
        const directory = join(this.#baseDir, model, name);
        const read = await this.#read(directory);
        if (!read) continue;
        known.set(directory, read);
        if (!read.contents) continue;
        const more = await this.#deltas.scan(directory);
        versions.set(Number(name), more ? { ...read.contents, ...more } : read.contents);
      }
      if (versions.size > 0) found.set(model, versions);
    }
    this.#known = known;
    return found;
  }

  async #read(directory: string): Promise<ReadManifest | undefined> {
    const path = join(directory, MANIFEST_FILE);
    const info = await stat(path).catch((error: unknown) => absentOr(error, path));
    if (!info) return undefined;
    const stamp = `${info.mtimeMs} ${info.size} ${info.ino}`;
    const known = this.#known.get(directory);
    if (known?.stamp === stamp) return known;
    try {
      const stored = await readManifest(directory);
      return { stamp, contents: stored && contentsOf(stored) };
    } catch (error) {
      const text = known?.contents
        ? "unreadable manifest; what it said before holds"
        : "unreadable manifest; the version is left out";
      this.#logger.error({ path, error: ServingError.from(error).message }, text);
      return { stamp, contents: known?.contents };
    }
  }
}

/** Names of the folders, and of links that may lead to some, in a folder; undefined when it is none. */
async function foldersIn(directory: string): Promise<string[] | undefined> {
  const items = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => absentOr(error, directory));
  return items
    ?.filter((item) => (item.isDirectory() || item.isSymbolicLink()) && !item.name.startsWith("."))
    .map((item) => item.name);
}

/** @throws ServingError UNAVAILABLE unless the failure says that nothing is there: an I/O error is no deletion */
function absentOr(error: unknown, path: string): undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return undefined;
  throw new ServingError("UNAVAILABLE", `model repository: ${path}: ${message}; check the disk and its rights`, {
    cause: error,
  });
}

/** Versions that a policy wants, of those that exist; highest first (TensorFlow Serving's file system source). */
export function aspiredVersions(policy: VersionPolicy, existing: Iterable<number>): number[] {
  const sorted = [...existing].sort((a, b) => b - a);
  if (policy.kind === "latest") return sorted.slice(0, policy.count);
  return policy.kind === "all" ? sorted : sorted.filter((version) => policy.versions.includes(version));
}
