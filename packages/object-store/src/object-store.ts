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

/** What serving needs of an object store. All calls fail with ServingError: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, INTERNAL. */
export interface ObjectStore {
  /** Names of the folders right below a place. */
  folders(place: StoreUri, signal?: AbortSignal): Promise<readonly string[]>;
  /** Everything below a place, in order of keys. */
  objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]>;
  /**
   * The contents of an object at the revision that was listed; checked against the store's own checksum where it keeps one.
   *
   * @throws ServingError also while the stream is read; FAILED_PRECONDITION when the object is another by now
   */
  read(place: StoreUri, object: StoredObject, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  close(): void;
}

/** Path of a key below a place; undefined for the place itself and for markers of folders, which consoles make. */
export function pathBelow({ prefix }: StoreUri, key: string): string | undefined {
  const path = key.slice(prefix.length);
  return path === "" || path.endsWith("/") ? undefined : path;
}
