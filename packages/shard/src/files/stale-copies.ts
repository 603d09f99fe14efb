import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@shardserve/core";

/**
 * Copies of versions that went while the process was down: nobody was there to let them go. They are removed when the registry
 * names a version of their model for the first time, and not theirs; after that whoever lets one go removes it. Copies of
 * a model that it does not name stay: a registry that was lost comes back, and needs them.
 */
export class StaleCopies {
  readonly #directory: string;
  readonly #logger: Logger;
  /** By model: versions that stay; null once the others are removed. */
  readonly #kept = new Map<string, Set<string> | null>();
  #removing = Promise.resolve();

  /** @param directory  of DIRECTORY/MODEL/VERSION; need not exist */
  constructor(directory: string, logger: Logger) {
    this.#directory = directory;
    this.#logger = logger;
  }

  /** @param named  all versions that the registry names now */
  removeBeside(named: readonly { readonly model: string; readonly version: number }[]): void {
    for (const { model, version } of named) {
      let kept = this.#kept.get(model);
      if (kept === null) continue;
      if (kept === undefined) {
        const versions = (kept = new Set<string>());
        this.#kept.set(model, versions);
        this.#removing = this.#removing.then(() => this.#remove(model, versions));
      }
      kept.add(String(version)); // also one that is named while the removal waits its turn: it is being copied
    }
  }

  /** Resolves when what was to be removed is. */
  whenIdle(): Promise<void> {
    return this.#removing;
  }

  async #remove(model: string, kept: ReadonlySet<string>): Promise<void> {
    const folder = join(this.#directory, model);
    try {
      for (const version of await versionsIn(folder)) {
        if (kept.has(version)) continue;
        await rm(join(folder, version), { recursive: true, force: true });
        this.#logger.info({ model, version }, "copies of a version that is gone are removed");
      }
    } catch (error) {
      this.#logger.warn({ model, error: (error as Error).message }, "copies of versions that are gone stay");
    }
    this.#kept.set(model, null);
  }
}

/** Names in the folder of a model; none where no copy of it was ever made. */
async function versionsIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
