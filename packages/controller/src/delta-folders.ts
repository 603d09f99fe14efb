import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, ServingError } from "@shardserve/core";
import { DELTA_MANIFEST_FILE, deltaPath, listEpochs, readDeltaManifest } from "@shardserve/rowstore";
import type { DeltaContents } from "./version-contents.js";

interface ReadDelta {
  readonly stamp: string;
  readonly contents: DeltaContents | undefined;
}

const NONE: ReadonlyMap<number, DeltaContents> = new Map();

/**
 * The deltas of versions on disk. A folder is looked into whenever it is asked for, and a manifest is read again only when it
 * changed, so nothing is ever remembered as seen before it was whole.
 */
export class DeltaFolders {
  readonly #logger: Logger;
  readonly #known = new Map<string, ReadDelta>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Whole deltas of a version directory, by epoch. One that cannot be read is logged once and left out.
   *
   * @throws ServingError UNAVAILABLE when the disk fails
   */
  async scan(versionDir: string): Promise<ReadonlyMap<number, DeltaContents>> {
    const epochs = await listEpochs(versionDir);
    if (epochs.length === 0) return NONE;
    const found = new Map<number, DeltaContents>();
    for (const epoch of epochs) {
      const contents = await this.#read(join(versionDir, deltaPath(epoch)), epoch);
      if (contents) found.set(epoch, contents);
    }
    return found;
  }

  async #read(directory: string, epoch: number): Promise<DeltaContents | undefined> {
    const path = join(directory, DELTA_MANIFEST_FILE);
    const info = await stat(path).catch(() => undefined); // not whole yet, or gone: looked for again the next time
    if (!info) {
      this.#known.delete(directory);
      return undefined;
    }
    const stamp = `${info.mtimeMs} ${info.size} ${info.ino}`;
    const known = this.#known.get(directory);
    if (known?.stamp === stamp) return known.contents;
    const contents = await this.#readManifest(directory, epoch);
    this.#known.set(directory, { stamp, contents });
    return contents;
  }

  async #readManifest(directory: string, epoch: number): Promise<DeltaContents | undefined> {
    try {
      const stored = await readDeltaManifest(directory);
      if (!stored) return undefined;
      const { manifest, digest } = stored;
      if (manifest.epoch !== epoch)
        throw new ServingError(
          "DELTA_OUT_OF_ORDER",
          `${directory} holds epoch ${manifest.epoch}; a delta lies in the folder of its epoch`,
        );
      const { baseDigest, parent, createdAtMs } = manifest;
      return { epoch, digest, baseDigest, parent, createdAtMs };
    } catch (error) {
      this.#logger.error({ directory, error: ServingError.from(error).message }, "unreadable delta; it is left out");
      return undefined;
    }
  }
}
