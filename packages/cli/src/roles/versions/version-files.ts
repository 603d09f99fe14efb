import { homedir } from "node:os";
import { join } from "node:path";
import { isServingError, type Logger } from "@shardserve/core";
import { childUri, isUri, parseStoreUri, type StoredObject, Stores, VersionCache } from "@shardserve/object-store";
import {
  fileFingerprint,
  type Loader,
  type MemoryPlan,
  memoryPlanOf,
  planMemory,
  type RemotePlaces,
} from "@shardserve/servable";
import { flag, type FlagValues } from "../../flags.js";

export const OBJECT_STORE_FLAGS = {
  modelCacheDir: flag.text(
    "where versions from s3:// and gs:// are kept; a folder of this process alone; default ~/.cache/shardserve/models",
    "DIR",
    "",
  ),
  modelCacheBytes: flag.bytes("what they may take there; those not in use go first", 100 * 2 ** 30),
  downloadBytesPerSecond: flag.bytes("rate of downloads from object stores; 0 = not limited", 0),
  objectStorePollSeconds: flag.number("pause between looks for new versions in object stores", 1, 86_400, 60),
};

/** Failures of a load that files damaged on the disk can be the cause of. */
const BAD_FILES = [
  "CHECKSUM_MISMATCH",
  "DIGEST_MISMATCH",
  "SAVED_MODEL_INVALID",
  "GRAPH_INVALID",
  "CHECKPOINT_INVALID",
  "MANIFEST_INVALID",
  "PARTITION_INVALID",
  "DELTA_INVALID",
] as const;

/** The files of versions, wherever these are: in directories of this machine, or in object stores. */
export class VersionFiles {
  readonly remote: RemotePlaces;
  readonly #flags: Readonly<FlagValues<typeof OBJECT_STORE_FLAGS>>;
  readonly #stores: Stores;
  readonly #logger: Logger;
  #cache: Promise<VersionCache> | undefined;

  constructor(
    flags: Readonly<FlagValues<typeof OBJECT_STORE_FLAGS>>,
    environment: Readonly<Record<string, string | undefined>>,
    logger: Logger,
  ) {
    this.#flags = flags;
    this.#stores = new Stores(environment);
    this.#logger = logger;
    this.remote = {
      isRemote: (path) => /^(s3|gs):\/\//.test(path),
      folders: async (uri) => {
        const place = parseStoreUri(uri);
        return (await (await this.#stores.of(place)).children(place)).folders;
      },
      child: childUri,
      pollIntervalMs: flags.objectStorePollSeconds * 1000,
    };
  }

  /** Text that changes whenever the files do; of an object store's version without reading them. */
  async fingerprint(path: string): Promise<string> {
    if (!isUri(path)) return fileFingerprint(path);
    return (await this.#objects(path)).map(({ key, bytes, revision }) => `${key}:${bytes}:${revision}`).join("\n");
  }

  /** What loading a version needs; of an object store's version before it is downloaded. */
  async planMemory(path: string, options: { readonly areRowsElsewhere?: boolean } = {}): Promise<MemoryPlan> {
    return isUri(path) ? memoryPlanOf(await this.#objects(path), options) : planMemory(path, options);
  }

  /** Where the files of a version are on this machine, or are to be. */
  async directoryOf(path: string): Promise<string> {
    if (!isUri(path)) return path;
    const cache = await this.#openCache();
    const held = cache.heldDirectory(path);
    if (held !== undefined) return held;
    const { dir, release } = await cache.acquire(path);
    release(); // the load that asks for it holds it next
    return dir;
  }

  /** A loader of directories, for versions wherever they are: they stay on the disk for as long as they are loaded. */
  loader(directories: Loader): Loader {
    return {
      load: async (id, path, options) => {
        if (!isUri(path)) return directories.load(id, path, options);
        const { dir, release, discard } = await (await this.#openCache()).acquire(path, options.signal);
        try {
          const model = await directories.load(id, dir, options);
          const { signatures, metadata, broken } = model;
          const close = () => model.close().finally(release);
          return { signatures, metadata, ...(broken && { broken }), run: (...run) => model.run(...run), close };
        } catch (error) {
          // Bad in the store, or on this disk: a second copy tells.
          const isBad = !options.signal.aborted && isServingError(error, ...BAD_FILES);
          await (isBad ? discard() : release());
          throw error;
        }
      },
    };
  }

  async close(): Promise<void> {
    const cache = await this.#cache?.catch(() => undefined); // who asked for it got the error
    await cache?.close();
    await this.#stores.close();
  }

  async #objects(uri: string): Promise<readonly StoredObject[]> {
    const place = parseStoreUri(uri);
    return (await this.#stores.of(place)).objects(place);
  }

  #openCache(): Promise<VersionCache> {
    const { modelCacheDir, modelCacheBytes: limitBytes, downloadBytesPerSecond } = this.#flags;
    const bytesPerSecond = downloadBytesPerSecond || Number.POSITIVE_INFINITY;
    const dir = modelCacheDir || join(homedir(), ".cache/shardserve/models");
    this.#cache ??= VersionCache.open({
      stores: this.#stores,
      dir,
      limitBytes,
      bytesPerSecond,
      logger: this.#logger,
    }).catch((error) => {
      this.#cache = undefined; // the folder may become free
      throw error;
    });
    return this.#cache;
  }
}
