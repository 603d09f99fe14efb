import { type ApiError, Storage } from "@google-cloud/storage";
import { type ObjectStore, pathBelow, type StoredObject } from "./object-store.js";
import { storeError } from "./store-error.js";
import type { StoreUri } from "./store-uri.js";

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

  async folders(place: StoreUri, signal?: AbortSignal): Promise<readonly string[]> {
    const names: string[] = [];
    await this.#listing(place, signal, async (bucket) => {
      let query: object | null = { prefix: place.prefix, delimiter: "/", autoPaginate: false };
      while (query) {
        signal?.throwIfAborted();
        const [, next, page] = (await bucket.getFiles(query)) as unknown as [unknown, object | null, ListPage];
        for (const prefix of page.prefixes ?? []) names.push(prefix.slice(place.prefix.length, -1));
        query = next;
      }
    });
    return names;
  }

  async objects(place: StoreUri, signal?: AbortSignal): Promise<readonly StoredObject[]> {
    const objects: StoredObject[] = [];
    await this.#listing(place, signal, async (bucket) => {
      const [files] = await bucket.getFiles({ prefix: place.prefix });
      signal?.throwIfAborted();
      for (const { name: key, metadata } of files) {
        const path = pathBelow(place, key);
        if (path === undefined) continue;
        objects.push({ path, key, bytes: Number(metadata.size ?? 0), revision: String(metadata.generation ?? "") });
      }
    });
    return objects;
  }

  async read({ bucket }: StoreUri, { key, revision }: StoredObject, signal?: AbortSignal) {
    const file = this.#storage.bucket(bucket).file(key, { generation: revision });
    return contents(file.createReadStream({ validation: "crc32c" }), `read gs://${bucket}/${key}`, signal);
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
