import { type BytePace, type Clock, ServingError } from "@shardserve/core";
import type { ObjectStore, StoredObject } from "./object-store.js";
import { parseStoreUri, type StoreUri } from "./store-uri.js";
import type { Stores } from "./stores.js";

/** Objects that are remembered, so that one of which many ranges are read is looked for once. */
const KNOWN_MAX = 64;
/** Longest wait for a store to say whether an object is there. */
const FIND_MS = 8_000;

/** For {@link StoredFiles}: where the files are, and how fast they may be read. */
export interface StoredFilesOptions {
  readonly stores: Stores;
  /** Place of the files. */
  readonly uri: string;
  /** Rate of all that share it together. */
  readonly pace: BytePace;
  readonly clock: Clock;
}

/** The objects below a place, to be read piece by piece like files. */
export class StoredFiles {
  /** For logs and errors. */
  readonly name: string;
  readonly kind = "repository";
  readonly #options: StoredFilesOptions;
  readonly #place: StoreUri;
  readonly #known = new Map<string, StoredObject>();

  constructor(options: StoredFilesOptions) {
    this.name = options.uri;
    this.#options = options;
    this.#place = parseStoreUri(options.uri);
  }

  /** @throws ServingError NOT_FOUND when there is no such object; what the store's client reports; the signal's reason */
  async open(path: string, signal: AbortSignal): Promise<StoredFile> {
    const store = await this.#options.stores.of(this.#place);
    const object = this.#known.get(path) ?? (await this.#find(store, path, signal));
    if (!object) throw new ServingError("NOT_FOUND", `there is no ${this.name}/${path}`);
    this.#known.delete(path);
    this.#known.set(path, object);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KNOWN_MAX) break;
      this.#known.delete(oldest);
    }
    const forget = () => void this.#known.delete(path);
    return new StoredFile({ store, place: this.#place, object, pace: this.#options.pace, signal, forget });
  }

  /** Somebody else may have the file, or an older copy will do: a store that is silent is not waited for as long as its client would. */
  async #find(store: ObjectStore, path: string, signal: AbortSignal): Promise<StoredObject | undefined> {
    const silent = new AbortController();
    const error = new ServingError("UNAVAILABLE", `${this.name}: no answer from the store within ${FIND_MS / 1000} s`);
    const cancel = this.#options.clock.after(FIND_MS, () => silent.abort(error));
    try {
      return await store.find(this.#place, path, AbortSignal.any([signal, silent.signal]));
    } finally {
      cancel();
    }
  }
}

interface StoredFileOptions {
  readonly store: ObjectStore;
  readonly place: StoreUri;
  readonly object: StoredObject;
  readonly pace: BytePace;
  readonly signal: AbortSignal;
  /** After a failure the object is looked for again. */
  readonly forget: () => void;
}

/**
 * One object, open for reading. The first piece is asked for alone, which is all that a reader of a small range takes; when the
 * next one goes on behind it, the rest of the object comes in one request.
 */
class StoredFile implements AsyncDisposable {
  readonly size: number;
  readonly #options: StoredFileOptions;
  #stream: AsyncIterator<Uint8Array> | undefined;
  /** What came and was not asked for yet. */
  #rest: Uint8Array = new Uint8Array(0);
  /** Where the last read ended. */
  #at = 0;
  #streamEnd = 0;

  constructor(options: StoredFileOptions) {
    this.#options = options;
    this.size = options.object.bytes;
  }

  /**
   * At most `length` bytes from `offset` on; none only at the end. One read at a time.
   *
   * @throws ServingError FAILED_PRECONDITION when the object was replaced; what the store's client reports; the signal's reason
   */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const wanted = Math.min(length, this.size - offset);
    if (wanted <= 0) return new Uint8Array(0);
    try {
      await this.#options.pace.take(wanted, this.#options.signal);
      if (offset !== this.#at || offset >= this.#streamEnd) await this.#begin(offset, wanted);
      const piece = await this.#take(wanted);
      this.#at = offset + wanted;
      return piece;
    } catch (error) {
      this.#options.forget();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream?.return?.().catch(() => undefined); // what is left of it is not wanted
  }

  async #begin(offset: number, wanted: number): Promise<void> {
    await this[Symbol.asyncDispose]();
    const { store, place, object, signal } = this.#options;
    const isGoingOn = offset > 0 && offset === this.#at;
    const length = isGoingOn ? this.size - offset : wanted;
    const stream = await store.read(place, object, signal, { offset, length });
    this.#stream = stream[Symbol.asyncIterator]();
    this.#streamEnd = offset + length;
    this.#rest = new Uint8Array(0);
  }

  async #take(wanted: number): Promise<Uint8Array> {
    const piece = Buffer.allocUnsafeSlow(wanted);
    let filled = 0;
    for (;;) {
      const part = this.#rest.subarray(0, wanted - filled);
      piece.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
      if (filled === wanted) return piece;
      const next = await this.#stream?.next();
      if (!next || next.done) {
        const { key } = this.#options.object;
        throw new ServingError("UNAVAILABLE", `${key} ended ${wanted - filled} bytes too early; it is tried again`);
      }
      this.#rest = next.value;
    }
  }
}
