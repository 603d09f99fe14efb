import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Logger, silentLogger } from "@shardserve/core";
import {
  childUri,
  type Listing,
  type ObjectStore,
  parseStoreUri,
  type StoredObject,
  type Stores,
} from "@shardserve/object-store";
import { DELTA_MANIFEST_FILE, EPOCH_FOLDERS, epochNumber, MANIFEST_FILE } from "@shardserve/rowstore";

/** As large as a manifest may be; it is read whole. */
const MANIFEST_BYTES_MAX = 256 * 2 ** 20;

/** For {@link RepositoryMirror}, which a leader needs where the repository is an object store. */
export interface RepositoryMirrorOptions {
  readonly stores: Stores;
  /** BASE of BASE/NAME/VERSION in an object store. */
  readonly uri: string;
  /** Folder of this process alone, made anew by the first refresh. */
  readonly directory: string;
  readonly logger?: Logger;
}

/**
 * The manifests of a model repository in an object store, of versions, deltas and folds, as files below a folder: what a leader looks
 * at. A refresh is one list of the base, one of each model, one to three of each version, and a read of what is new: what
 * a version's list names with the revision that is here is not read again, nor is the manifest of a delta, whose number is never
 * used twice. A fold may be mended, so its manifest is looked for each time.
 */
export class RepositoryMirror {
  readonly #options: RepositoryMirrorOptions;
  readonly #logger: Logger;
  /** Revisions of what is here, by path. */
  #held: ReadonlyMap<string, string> | undefined;

  constructor(options: RepositoryMirrorOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  get directory(): string {
    return this.#options.directory;
  }

  /**
   * Makes the folder say what the store does.
   *
   * @throws ServingError what the store's client reports; then the folder may say a part of it, and the next refresh goes on
   */
  async refresh(signal: AbortSignal): Promise<void> {
    const { directory, stores, uri } = this.#options;
    const store = await stores.of(parseStoreUri(uri));
    if (!this.#held) await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    const before = (this.#held ??= new Map());
    const found = new Map<string, string>();
    for (const version of await this.#versions(store, signal)) {
      for (const { path, object } of await this.#manifests(store, version, before, signal)) {
        if (object.bytes > MANIFEST_BYTES_MAX) {
          this.#logger.error({ path, bytes: object.bytes }, "an object too large for a manifest; it is left out");
          continue;
        }
        if (object.revision !== before.get(path)) await this.#bring(store, path, object, signal);
        found.set(path, object.revision);
      }
    }
    for (const path of before.keys()) {
      // The folder goes too: a version without its manifest is none.
      if (!found.has(path)) await rm(join(directory, dirname(path)), { recursive: true, force: true });
    }
    this.#held = found;
  }

  /** Paths of folders that may be versions. */
  async #versions(store: ObjectStore, signal: AbortSignal): Promise<string[]> {
    const paths: string[] = [];
    for (const model of (await this.#list(store, "", signal)).folders) {
      if (model.startsWith(".") || /[\\\0]/.test(model)) continue;
      const { folders } = await this.#list(store, model, signal);
      paths.push(...folders.filter((name) => /^(0|[1-9]\d{0,15})$/.test(name)).map((name) => `${model}/${name}`));
    }
    return paths;
  }

  /** The manifest of a version, and of its deltas and folds; [] when it is not whole. */
  async #manifests(
    store: ObjectStore,
    version: string,
    before: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): Promise<{ readonly path: string; readonly object: StoredObject }[]> {
    const { folders, objects } = await this.#list(store, version, signal);
    const manifest = objects.find(({ path }) => path === MANIFEST_FILE);
    if (!manifest) return [];
    const manifests = [{ path: `${version}/${MANIFEST_FILE}`, object: manifest }];
    for (const folder of EPOCH_FOLDERS.filter((name) => folders.includes(name))) {
      for (const epoch of (await this.#list(store, `${version}/${folder}`, signal)).folders) {
        if (epochNumber(epoch) === undefined) continue;
        const path = `${version}/${folder}/${epoch}/${DELTA_MANIFEST_FILE}`;
        const revision = folder === "folds" ? undefined : before.get(path);
        const known = revision === undefined ? undefined : { path, key: path, bytes: 0, revision };
        const object = known ?? (await store.find(parseStoreUri(this.#options.uri), path, signal));
        if (object) manifests.push({ path, object });
      }
    }
    return manifests;
  }

  #list(store: ObjectStore, path: string, signal: AbortSignal): Promise<Listing> {
    const { uri } = this.#options;
    return store.children(parseStoreUri(path === "" ? uri : childUri(uri, path)), signal);
  }

  async #bring(store: ObjectStore, path: string, object: StoredObject, signal: AbortSignal): Promise<void> {
    const { directory, uri } = this.#options;
    const target = join(directory, path);
    const parts: Uint8Array[] = [];
    for await (const part of await store.read(parseStoreUri(uri), object, signal)) parts.push(part);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(`${target}.new`, Buffer.concat(parts));
    await rename(`${target}.new`, target);
    this.#logger.debug({ path, bytes: object.bytes }, "manifest read from the object store");
  }
}
