import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, ServingError, silentLogger } from "@shardserve/core";
import type { VersionPolicy } from "@shardserve/registry";
import { MANIFEST_FILE, readManifest } from "@shardserve/rowstore";
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
  /** Manifests that were read, by path; read again only when size or time of change differ. */
  #known = new Map<string, ReadManifest>();

  constructor(baseDir: string, options: { readonly logger?: Logger } = {}) {
    this.#baseDir = baseDir;
    this.#logger = options.logger ?? silentLogger;
  }

  /**
   * Looks at the folders. A manifest that cannot be read is logged once and its version left out.
   *
   * @throws ServingError NOT_FOUND when the base folder cannot be read: nothing is known then, not "no models"
   */
  async scan(options: { readonly signal?: AbortSignal } = {}): Promise<RepositoryContents> {
    const found = new Map<string, Map<number, VersionContents>>();
    const known = new Map<string, ReadManifest>();
    for (const model of await this.#folders(this.#baseDir)) {
      options.signal?.throwIfAborted();
      const versions = new Map<number, VersionContents>();
      for (const name of await this.#folders(join(this.#baseDir, model)).catch(() => [])) {
        if (!/^\d{1,16}$/.test(name) || !Number.isSafeInteger(Number(name))) continue;
        const directory = join(this.#baseDir, model, name);
        const read = await this.#read(directory);
        if (!read) continue;
        known.set(directory, read);
        if (read.contents) versions.set(Number(name), read.contents);
      }
      if (versions.size > 0) found.set(model, versions);
    }
    this.#known = known;
    return found;
  }

  async #read(directory: string): Promise<ReadManifest | undefined> {
    const path = join(directory, MANIFEST_FILE);
    const info = await stat(path).catch(() => undefined); // no manifest (yet)
    if (!info) return undefined;
    const stamp = `${info.mtimeMs} ${info.size} ${info.ino}`;
    const known = this.#known.get(directory);
    if (known?.stamp === stamp) return known;
    try {
      const stored = await readManifest(directory);
      return { stamp, contents: stored && contentsOf(stored) };
    } catch (error) {
      this.#logger.error(
        { path, error: ServingError.from(error).message },
        "unreadable manifest; the version is left out",
      );
      return { stamp, contents: undefined };
    }
  }

  async #folders(directory: string): Promise<string[]> {
    try {
      const items = await readdir(directory, { withFileTypes: true });
      return items
        .filter((item) => (item.isDirectory() || item.isSymbolicLink()) && !item.name.startsWith("."))
        .map((item) => item.name);
    } catch (error) {
      const text = `model repository ${directory}: ${(error as Error).message}; check the path and its rights`;
      throw new ServingError("NOT_FOUND", text, { cause: error });
    }
  }
}

/** Versions that a policy wants, of those that exist; highest first (TensorFlow Serving's file system source). */
export function aspiredVersions(policy: VersionPolicy, existing: Iterable<number>): number[] {
  const sorted = [...existing].sort((a, b) => b - a);
  if (policy.kind === "latest") return sorted.slice(0, policy.count);
  return policy.kind === "all" ? sorted : sorted.filter((version) => policy.versions.includes(version));
}
