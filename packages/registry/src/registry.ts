/** One key of the registry. Keys are relative to the cluster's prefix; values are opaque bytes (msgpack, cluster-keys.ts). */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision of the last write to the key; what a transaction compares. */
  readonly modRevision: number;
  /** Revision of the write that created the key. */
  readonly createRevision: number;
}

/** All keys under a prefix as they stood at one revision, sorted by key. */
export interface Listing {
  readonly revision: number;
  readonly entries: readonly Entry[];
}

/** Holds when the key was last written at `modRevision`; 0 = when the key does not exist. */
export interface Compare {
  readonly key: string;
  readonly modRevision: number;
}

/** An operation of a transaction: a key gets a value. */
export interface Put {
  readonly put: string;
  readonly value: Uint8Array;
  /** The key goes when this lease ends; absent = it stays until deleted. */
  readonly lease?: Lease;
}

/** An operation of a transaction: a key goes; not an error where it is absent. */
export interface Delete {
  readonly delete: string;
}

/** What ends a call early. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/**
 * A promise to stay alive: its keys vanish `ttlSeconds` after the holder was last heard of. Kept alive by itself until
 * it is revoked or lost. A lost lease never comes back; {@link LeasedKeys} takes a new one and writes its keys again.
 */
export interface Lease {
  readonly id: string;
  readonly ttlSeconds: number;
  /** Aborts with a ServingError LEASE_LOST once the lease may have ended; never on revoke. */
  readonly lost: AbortSignal;
  /**
   * The keys that it holds: what was written under it and not written or deleted by anybody since.
   *
   * @throws ServingError LEASE_LOST, REGISTRY_UNAVAILABLE
   */
  keys(options?: CallOptions): Promise<ReadonlySet<string>>;
  /** Ends the lease now; its keys are deleted. Idempotent; a lease that is gone already is not an error. */
  revoke(options?: CallOptions): Promise<void>;
}

/**
 * What a watch yields. A snapshot replaces everything known under the prefix: it comes first, and again after every
 * interruption (registry away, history compacted, reader too slow), so that no delete is ever missed. Changes hold all
 * writes of one or more whole transactions, in order, each key's last state only.
 */
export type WatchEvent =
  | { readonly type: "snapshot"; readonly revision: number; readonly entries: readonly Entry[] }
  | { readonly type: "changes"; readonly revision: number; readonly changes: readonly Change[] };

/** One change that a watch reports. */
export type Change =
  | { readonly type: "put"; readonly entry: Entry }
  | { readonly type: "delete"; readonly key: string };

/**
 * The cluster's shared state: a small ordered key-value store with transactions, leases and watches.
 *
 * All calls fail with REGISTRY_UNAVAILABLE, at the latest after the implementation's call timeout, while the registry
 * cannot be reached. They are safe to repeat: a transaction that did go through is then refused by its compares.
 */
export interface Registry {
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;
  list(prefix: string, options?: CallOptions): Promise<Listing>;
  /**
   * Applies all operations at once if every compare holds.
   *
   * @returns the revision of the write
   * @throws ServingError REGISTRY_CONFLICT when a compare does not hold; LEASE_LOST when a named lease is gone
   */
  txn(compares: readonly Compare[], operations: readonly (Put | Delete)[], options?: CallOptions): Promise<number>;
  /** Takes a lease and keeps it alive. */
  lease(ttlSeconds: number, options?: CallOptions): Promise<Lease>;
  /** Ends only when `signal` aborts or the registry is closed; waits, with backoff, while the registry is away. */
  watch(prefix: string, options?: CallOptions): AsyncIterable<WatchEvent>;
  /** Stops watches and keepalives. Leases are not revoked: they expire. Idempotent. */
  close(): Promise<void>;
}
