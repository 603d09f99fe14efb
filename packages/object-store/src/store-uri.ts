import { ServingError } from "@shardserve/core";

/** A place in an object store: `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`. */
export interface StoreUri {
  readonly scheme: "s3" | "gs";
  readonly bucket: string;
  /** Ends in "/" unless it is empty: everything at the place has a key that begins with it. */
  readonly prefix: string;
}

/** Whether a base path names something that is no path of this machine. */
export function isUri(path: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(path);
}

/** @throws ServingError INVALID_ARGUMENT for other schemes, and where there is no bucket */
export function parseStoreUri(uri: string): StoreUri {
  const match = /^(s3|gs):\/\/([^/]+)(?:\/(.*))?$/s.exec(uri);
  if (!match) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `${uri} is no place in an object store: s3://BUCKET/PATH or gs://BUCKET/PATH`,
    );
  }
  const [, scheme, bucket, path = ""] = match;
  const prefix = path === "" || path.endsWith("/") ? path : `${path}/`;
  return { scheme: scheme as StoreUri["scheme"], bucket: bucket!, prefix };
}

/** The place of a child: `s3://b/models` and "7" give `s3://b/models/7`. */
export function childUri(uri: string, name: string): string {
  return uri.endsWith("/") ? `${uri}${name}` : `${uri}/${name}`;
}
