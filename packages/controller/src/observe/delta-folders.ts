import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, ServingError } from "@shardserve/core";
import {
  DELTA_MANIFEST_FILE,
  deltaPath,
  foldPath,
  listEpochs,
  listFolds,
  readDeltaManifest,
  type StoredDelta,
} from "@shardserve/rowstore";
import type { DeltaContents, FoldContents, VersionContents } from "./version-contents.js";

/** What the leader needs to know of a manifest, delta's or fold's. */
type Contents = DeltaContents | FoldContents;

interface ReadDelta {
  readonly stamp: string;
  readonly contents: Contents | undefined;
}

/**
 * The deltas and folds of versions on disk. A folder is looked into whenever it is asked for, and a manifest is read again
 * only when it changed, so nothing is ever remembered as seen before it was whole.
 */
export class DeltaFolders {
  readonly #logger: Logger;
  /** By version directory, then by delta's or fold's. */
  readonly #known = new Map<string, ReadonlyMap<string, ReadDelta>>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Whole deltas and folds of a version directory, by epoch; undefined when there are none. One that cannot be read is
   * logged once and left out.
   *
   * @throws ServingError UNAVAILABLE when the disk fails
   */
  async scan(versionDir: string): Promise<Pick<VersionContents, "deltas" | "folds"> | undefined> {
    const before = this.#known.get(versionDir);
    const known = new Map<string, ReadDelta>();
    const deltas = new Map<number, DeltaContents>();
    const folds = new Map<number, FoldContents>();
    const folders = [
      ...(await listEpochs(versionDir)).map((epoch) => ({ epoch, directory: join(versionDir, deltaPath(epoch)) })),
      ...(await listFolds(versionDir)).map((epoch) => ({ epoch, directory: join(versionDir, foldPath(epoch)) })),
    ];
    for (const { epoch, directory } of folders) {
      const read = await this.#read(directory, epoch, before?.get(directory));
      if (!read) continue;
      known.set(directory, read);
      const { contents } = read;
      if (contents && "fold" in contents) folds.set(epoch, contents);
      else if (contents) deltas.set(epoch, contents);
    }
    if (known.size === 0) {
      this.#known.delete(versionDir);
      return undefined;
    }
    this.#known.set(versionDir, known);
    return { ...(deltas.size > 0 && { deltas }), ...(folds.size > 0 && { folds }) };
  }

  async #read(directory: string, epoch: number, known: ReadDelta | undefined): Promise<ReadDelta | undefined> {
    const info = await stat(join(directory, DELTA_MANIFEST_FILE)).catch(() => undefined);
    if (!info) return undefined; // not whole yet, or gone: looked for again the next time
    const stamp = `${info.mtimeMs} ${info.size} ${info.ino}`;
    return known?.stamp === stamp ? known : { stamp, contents: await this.#readManifest(directory, epoch) };
  }

  async #readManifest(directory: string, epoch: number): Promise<Contents | undefined> {
    try {
      const stored = await readDeltaManifest(directory);
      if (!stored) return undefined;
      if (stored.manifest.epoch !== epoch)
        throw new ServingError(
          "DELTA_OUT_OF_ORDER",
          `${directory} holds epoch ${stored.manifest.epoch}; a delta lies in the folder of its epoch`,
        );
      return contentsOf(stored);
    } catch (error) {
      this.#logger.error({ directory, error: ServingError.from(error).message }, "unreadable delta; it is left out");
      return undefined;
    }
  }
}

function contentsOf({ manifest, digest, fold }: StoredDelta): Contents {
  const { epoch, baseDigest, parent, createdAtMs } = manifest;
  return fold === undefined ? { epoch, digest, baseDigest, parent, createdAtMs } : { epoch, digest, baseDigest, fold };
}
