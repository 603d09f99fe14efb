import { type Logger, ServingError, silentLogger } from "@shardserve/core";
import type { Entry, Registry } from "./registry.js";

/**
 * A mirror of all keys under a prefix, kept current by a watch. While the registry is away it keeps what it knew last.
 */
export class RegistryView {
  readonly prefix: string;
  readonly #registry: Registry;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  #revision = 0;
  #failure: ServingError | undefined;
  #watching: Promise<void> | undefined;

  constructor(registry: Registry, prefix: string, options: { readonly logger?: Logger } = {}) {
    this.#registry = registry;
    this.prefix = prefix;
    this.#logger = options.logger ?? silentLogger;
  }

  /** Keys as last seen; the map changes in place, between events never. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** Revision that the view has reached; 0 = nothing was heard yet. */
  get revision(): number {
    return this.#revision;
  }

  /** Begins to watch; a second call does nothing. */
  start(): void {
    this.#watching ??= this.#watch();
  }

  /** Calls back after every event was applied. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Waits until the view has reached `revision`; default: until it holds anything at all. Note that a revision that wrote
   * nothing under the prefix is reached with the next one that did.
   *
   * @throws the signal's reason; ServingError when the watch ended
   */
  async reach(revision = 1, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const { signal } = options;
    while (this.#revision < revision) {
      signal?.throwIfAborted();
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        const wake = () => {
          unsubscribe();
          signal?.removeEventListener("abort", wake);
          resolve();
        };
        const unsubscribe = this.subscribe(wake);
        signal?.addEventListener("abort", wake, { once: true });
      });
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    try {
      for await (const event of this.#registry.watch(this.prefix, { signal: this.#stop.signal })) {
        if (event.type === "snapshot") {
          this.#entries.clear();
          for (const entry of event.entries) this.#entries.set(entry.key, entry);
        } else {
          for (const change of event.changes) {
            if (change.type === "put") this.#entries.set(change.entry.key, change.entry);
            else this.#entries.delete(change.key);
          }
        }
        this.#revision = event.revision;
        this.#notify();
      }
      this.#failure = new ServingError("REGISTRY_UNAVAILABLE", `the watch on ${this.prefix} is closed`);
    } catch (error) {
      this.#failure = ServingError.from(error);
      this.#logger.error({ prefix: this.prefix, error: this.#failure.message }, "watch ended for good");
    }
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
