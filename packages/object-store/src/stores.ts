import type { ObjectStore } from "./object-store.js";
import type { StoreUri } from "./store-uri.js";

/** The clients of a process, each made when it is first needed: they are large, and few processes need one. */
export class Stores {
  readonly #environment: Readonly<Record<string, string | undefined>>;
  readonly #opened = new Map<StoreUri["scheme"], Promise<ObjectStore>>();

  /** @param environment  what names endpoints; credentials are found by the clients themselves */
  constructor(environment: Readonly<Record<string, string | undefined>>) {
    this.#environment = environment;
  }

  of({ scheme }: StoreUri): Promise<ObjectStore> {
    let store = this.#opened.get(scheme);
    if (!store) this.#opened.set(scheme, (store = this.#open(scheme)));
    return store;
  }

  async close(): Promise<void> {
    for (const store of this.#opened.values()) (await store).close();
  }

  async #open(scheme: StoreUri["scheme"]): Promise<ObjectStore> {
    if (scheme === "gs") return new (await import("./gcs-store.js")).GcsStore();
    return new (await import("./s3-store.js")).S3Store(this.#environment);
  }
}
