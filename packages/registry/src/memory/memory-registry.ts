import { type Clock, type Logger, silentLogger, systemClock } from "@shardserve/core";
import { KeptLease } from "../kept-lease.js";
import { MemoryStore, type StoreOperation } from "./memory-store.js";
import type { CallOptions, Compare, Delete, Entry, Lease, Listing, Put, Registry, WatchEvent } from "../registry.js";
import { WatchQueue } from "../watch-queue.js";

/** For {@link MemoryRegistry}. */
export interface MemoryRegistryOptions {
  /** Shared state; absent = a new one of its own. */
  readonly store?: MemoryStore;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** The registry inside this process: for `serve`, for `up` (which serves it to the others) and for tests. */
export class MemoryRegistry implements Registry {
  readonly store: MemoryStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #closed = new AbortController();

  constructor(options: MemoryRegistryOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.store = options.store ?? new MemoryStore({ clock: this.#clock });
    this.#logger = options.logger ?? silentLogger;
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<Entry | undefined> {
    signal?.throwIfAborted();
    return this.store.get(key);
  }

  async list(prefix: string, { signal }: CallOptions = {}): Promise<Listing> {
    signal?.throwIfAborted();
    return this.store.list(prefix);
  }

  async txn(
    compares: readonly Compare[],
    operations: readonly (Put | Delete)[],
    { signal }: CallOptions = {},
  ): Promise<number> {
    signal?.throwIfAborted();
    return this.store.txn(compares, operations.map(toStoreOperation));
  }

  lease(ttlSeconds: number, options: CallOptions = {}): Promise<Lease> {
    const { store } = this;
    const backend = {
      grantLease: async () => store.grantLease(ttlSeconds),
      keepAlive: async (id: string) => store.keepAlive(id),
      keysOfLease: async (id: string) => store.keysOfLease(id),
      revokeLease: async (id: string) => store.revokeLease(id),
    };
    const environment = { clock: this.#clock, logger: this.#logger, closed: this.#closed.signal };
    return KeptLease.grant(backend, ttlSeconds, environment, options);
  }

  async *watch(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<WatchEvent, void, void> {
    const ended = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const queue = new WatchQueue(() => ({ type: "snapshot", ...this.store.list(prefix) }), ended);
    const unsubscribe = this.store.subscribe((changes, revision) => {
      const ours = changes.filter((change) => keyOf(change).startsWith(prefix));
      if (ours.length > 0) queue.push({ type: "changes", revision, changes: ours });
    });
    try {
      yield* queue.read();
    } finally {
      unsubscribe();
    }
  }

  close(): Promise<void> {
    this.#closed.abort();
    return Promise.resolve();
  }
}

/** @internal shared with the remote registry */
export function toStoreOperation(operation: Put | Delete): StoreOperation {
  if (!("put" in operation)) return operation;
  const { put, value, lease } = operation;
  return lease === undefined ? { put, value } : { put, value, leaseId: lease.id };
}

function keyOf(
  change: { readonly type: "put"; readonly entry: Entry } | { readonly type: "delete"; readonly key: string },
): string {
  return change.type === "put" ? change.entry.key : change.key;
}
