import { type BytePace, systemClock } from "@shardserve/core";
import { childUri, parseStoreUri, StoredFiles, type Stores } from "@shardserve/object-store";
import { MANIFEST_FILE } from "@shardserve/rowstore";

export interface StoredRepositoryOptions {
  /** Taken over: closed with the repository. */
  readonly stores: Stores;
  /** BASE of BASE/NAME/VERSION. */
  readonly uri: string;
  /** Rate of all downloads together. */
  readonly pace: BytePace;
}

/** A model repository in an object store. */
export class StoredRepository {
  readonly uri: string;
  readonly stores: Stores;
  readonly #pace: BytePace;

  /** @throws ServingError INVALID_ARGUMENT when the URI names no place in an object store */
  constructor({ stores, uri, pace }: StoredRepositoryOptions) {
    parseStoreUri(uri);
    this.uri = uri.replace(/\/$/, "");
    this.stores = stores;
    this.#pace = pace;
  }

  /** The files of one version. Its folder has the number without leading zeros. */
  version(model: string, version: number): StoredFiles {
    const uri = this.#place(model, String(version));
    return new StoredFiles({ stores: this.stores, uri, pace: this.#pace, clock: systemClock });
  }

  /**
   * Models with a version that was exported as a whole.
   *
   * @throws ServingError what the store's client reports
   */
  async models(signal: AbortSignal): Promise<string[]> {
    const store = await this.stores.of(parseStoreUri(this.uri));
    const found: string[] = [];
    for (const model of (await store.children(parseStoreUri(this.uri), signal)).folders) {
      const { folders } = await store.children(parseStoreUri(this.#place(model)), signal);
      for (const name of folders.filter((folder) => /^\d+$/.test(folder)).reverse()) {
        if (!(await store.find(parseStoreUri(this.#place(model, name)), MANIFEST_FILE, signal))) continue;
        found.push(model);
        break;
      }
    }
    return found.sort();
  }

  close(): Promise<void> {
    return this.stores.close();
  }

  #place(...names: readonly string[]): string {
    return names.reduce(childUri, this.uri);
  }
}
