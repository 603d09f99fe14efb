import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type ApiError, type File, Storage } from "@google-cloud/storage";
import { isServingError } from "@shardserve/core";
import {
  type ByteRange,
  DIGEST_METADATA,
  type FoundObject,
  type Listing,
  type ObjectStore,
  pathBelow,
  type StoredObject,
  type Upload,
} from "./object-store.js";
import { storeError } from "./store-error.js";
import type { StoreUri } from "./store-uri.js";

/** Smaller objects are put by one request. */
const SENT_WHOLE_BYTES_MAX = 16 * 2 ** 20;
const PIECE_BYTES = 2 ** 20;

/** A page of a list, as the JSON API answers it. */
interface ListPage {
  readonly prefixes?: readonly string[];
}

/**
 * Google Cloud Storage. Credentials are the application default ones (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's);
 * `STORAGE_EMULATOR_HOST` names another endpoint, without them.
 */
export class GcsStore implements ObjectStore {
  readonly #storage = new Storage();

  async children(place: StoreUri, signal?: AbortSignal): Promise<Listing> {
    const folders: string[] = [];
    const objects: StoredObject[] = [];
    await this.#listing(place, signal, async (bucket) => {
      let query: object | null = { prefix: place.prefix, delimiter: "/", autoPaginate: false };
      while (query) {
        signal?.throwIfAborted();
        const [files, next, page] = (await bucket.getFiles(query)) as unknown as [File[], object | null, ListPage];
        for (const prefix of page.prefixes ?? []) folders.push(prefix.slice(place.prefix.length, -1));
        objects.push(...objectsOf(files, place));
        query = next;
      }
    });
    return { folders, objects };
  }

  async objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]> {
    const objects: StoredObject[] = [];
    await this.#listing(place, signal, async (bucket) => {
      const [files] = await bucket.getFiles({ prefix: place.prefix });
      signal?.throwIfAborted();
      objects.push(...objectsOf(files, place));
    });
    return objects;
  }

  async find({ bucket, prefix }: StoreUri, path: string, signal?: AbortSignal): Promise<FoundObject | undefined> {
    const key = `${prefix}${path}`;
    try {
      const [metadata] = await this.#storage.bucket(bucket).file(key).getMetadata();
      const digest = metadata.metadata?.[DIGEST_METADATA];
      return { ...objectOf(metadata, path, key), digest: typeof digest === "string" ? digest : undefined };
    } catch (error) {
      const refused = gcsError(`look for gs://${bucket}/${key}`, error, signal);
      if (isServingError(refused, "NOT_FOUND")) return undefined;
      throw refused;
    }
  }

  async read({ bucket }: StoreUri, { key, revision }: StoredObject, signal?: AbortSignal, range?: ByteRange) {
    const file = this.#storage.bucket(bucket).file(key, { generation: revision });
    const stream = file.createReadStream(
      range
        ? { start: range.offset, end: range.offset + range.length - 1, validation: false }
        : { validation: "crc32c" },
    );
    return contents(stream, `read gs://${bucket}/${key}`, signal);
  }

  async put({ bucket, prefix }: StoreUri, path: string, upload: Upload, signal?: AbortSignal): Promise<void> {
    const key = `${prefix}${path}`;
    const file = this.#storage.bucket(bucket).file(key);
    const options = {
      resumable: upload.bytes > SENT_WHOLE_BYTES_MAX,
      validation: "crc32c" as const,
      metadata: { metadata: { [DIGEST_METADATA]: upload.digest } },
      ...(upload.isNew && { preconditionOpts: { ifGenerationMatch: 0 } }),
    };
    try {
      await pipeline(Readable.from(pieces(upload)), file.createWriteStream(options), { ...(signal && { signal }) });
    } catch (error) {
      throw gcsError(`write gs://${bucket}/${key}`, error, signal);
    }
  }

  async remove({ bucket, prefix }: StoreUri, path: string, signal?: AbortSignal): Promise<void> {
    const key = `${prefix}${path}`;
    try {
      await this.#storage.bucket(bucket).file(key).delete({ ignoreNotFound: true });
    } catch (error) {
      throw gcsError(`remove gs://${bucket}/${key}`, error, signal);
    }
  }

  close(): void {}

  async #listing(
    { bucket, prefix }: StoreUri,
    signal: AbortSignal | undefined,
    list: (bucket: ReturnType<Storage["bucket"]>) => Promise<void>,
  ): Promise<void> {
    try {
      await list(this.#storage.bucket(bucket));
    } catch (error) {
      throw gcsError(`list gs://${bucket}/${prefix}`, error, signal);
    }
  }
}

function objectsOf(files: readonly File[], place: StoreUri): StoredObject[] {
  return files.flatMap(({ name: key, metadata }) => {
    const path = pathBelow(place, key);
    return path === undefined ? [] : [objectOf(metadata, path, key)];
  });
}

function objectOf({ size, generation }: File["metadata"], path: string, key: string): StoredObject {
  return { path, key, bytes: Number(size ?? 0), revision: String(generation ?? "") };
}

async function* pieces({ bytes, read, onSent }: Upload): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, bytes - offset);
    yield await read({ offset, length });
    onSent?.(length);
  }
}

async function* contents(
  stream: AsyncIterable<Uint8Array> & { destroy(): unknown },
  doing: string,
  signal: AbortSignal | undefined,
) {
  const onAbort = () => void stream.destroy();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    yield* stream;
  } catch (error) {
    throw gcsError(doing, error, signal);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

function gcsError(doing: string, error: unknown, signal: AbortSignal | undefined): unknown {
  const { code } = error as Partial<ApiError>;
  return storeError(doing, typeof code === "number" ? code : undefined, error, signal);
}
