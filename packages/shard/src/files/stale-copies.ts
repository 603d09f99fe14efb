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
  readonly #knownModels = new Set<string>();
  #removing = Promise.resolve();

  /** @param directory  of DIRECTORY/MODEL/VERSION; need not exist */
  constructor(directory: string, logger: Logger) {
    this.#directory = directory;
    this.#logger = logger;
  }

  /** @param named  all versions that the registry names now */
  removeBeside(named: readonly { readonly model: string; readonly version: number }[]): void {
    for (const { model } of named) {
      if (this.#knownModels.has(model)) continue;
      this.#knownModels.add(model);
      const versions = new Set(named.filter((one) => one.model === model).map(({ version }) => String(version)));
      this.#removing = this.#removing.then(() => this.#remove(model, versions));
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
