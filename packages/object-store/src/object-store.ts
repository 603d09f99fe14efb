import type { StoreUri } from "./store-uri.js";

/** One object below a place. */
export interface StoredObject {
  /** Path below the place, with "/" between folders. */
  readonly path: string;
  readonly key: string;
  readonly bytes: number;
  /** Changes whenever the contents do: an S3 ETag, a GCS generation. */
  readonly revision: string;
}

/** What lies right below a place. */
export interface Listing {
  /** Names of folders. */
  readonly folders: readonly string[];
  readonly objects: readonly StoredObject[];
}

/** An object, with what it was put with. */
export interface FoundObject extends StoredObject {
  /** The {@link Upload.digest} that it was put with; undefined where somebody else put it. */
  readonly digest: string | undefined;
}

/** Bytes `[offset, offset + length)` of an object. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** What is to become an object. */
export interface Upload {
  readonly bytes: number;
  /** Kept beside the contents: tells {@link ObjectStore.find} what was put there. */
  readonly digest: string;
  /** Asked for in order, each part again when it is sent again. @returns all bytes of the range */
  readonly read: (range: ByteRange) => Promise<Uint8Array>;
  readonly onSent?: (bytes: number) => void;
  /** An object that is there already stays, where the store can tell (S3, GCS and MinIO can; some that speak S3 cannot). */
  readonly isNew?: boolean;
}

/**
 * What we need of an object store. All calls fail with ServingError: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL; they are
 * tried a few times, each for a bounded time, before they do.
 */
export interface ObjectStore {
  /** What lies right below a place: one call for each thousand names. */
  children(place: StoreUri, signal?: AbortSignal): Promise<Listing>;
  /** Everything below a place, in order of keys. */
  objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]>;
  /** One object below a place; undefined when it is not there. */
  find(place: StoreUri, path: string, signal?: AbortSignal): Promise<FoundObject | undefined>;
  /**
   * The contents of an object at the revision that was listed; checked against the store's own checksum where it keeps one and
   * all of the object is read.
   *
   * @param range  not empty, within the object; absent = all of it
   * @throws ServingError also while the stream is read; FAILED_PRECONDITION when the object is another by now
   */
  read(
    place: StoreUri,
    object: StoredObject,
    signal?: AbortSignal,
    range?: ByteRange,
  ): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Puts an object: once this resolves it is durable, and nobody ever sees a part of it. Parts are sent with checksums.
   *
   * @throws ServingError FAILED_PRECONDITION when it had to be new and is not
   */
  put(place: StoreUri, path: string, upload: Upload, signal?: AbortSignal): Promise<void>;
  /** Removes an object, if it is there. */
  remove(place: StoreUri, path: string, signal?: AbortSignal): Promise<void>;
  close(): void;
}

/** Key of what objects are put with; see {@link Upload.digest}. */
export const DIGEST_METADATA = "shardserve-digest";

/** Path of a key below a place; undefined for the place itself and for markers of folders, which consoles make. */
export function pathBelow({ prefix }: StoreUri, key: string): string | undefined {
  const path = key.slice(prefix.length);
  return path === "" || path.endsWith("/") ? undefined : path;
}
