import { type Clock, ServingError, systemClock } from "@shardserve/core";
import type { Change, Compare, Entry, Listing } from "../registry.js";
import { checkTxn } from "../txn-rules.js";

/** A write as the store takes it: the lease by its id. */
export type StoreOperation =
  | { readonly put: string; readonly value: Uint8Array; readonly leaseId?: string }
  | { readonly delete: string };

interface StoredLease {
  readonly ttlMs: number;
  readonly keys: Set<string>;
  cancelExpiry: () => void;
}

interface StoredEntry extends Entry {
  readonly leaseId: string | undefined;
}

/**
 * The state behind in-process registries: etcd's data model (one revision per transaction, leases that expire) in a Map.
 * Handles on it are {@link MemoryRegistry} in this process and RemoteRegistry over a socket.
 */
export class MemoryStore {
  readonly #clock: Clock;
  readonly #entries = new Map<string, StoredEntry>();
  readonly #leases = new Map<string, StoredLease>();
  readonly #listeners = new Set<(changes: readonly Change[], revision: number) => void>();
  /**
   * Part of the ids of leases. A holder from before this store knows an id of the last one: were it one of ours too, the holder
   * would keep another's lease alive and never register anew.
   */
  readonly #bornAtMs: number;
  #revision = 1;
  #nextLease = 1;

  constructor(options: { readonly clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#bornAtMs = this.#clock.wallMs();
  }

  get revision(): number {
    return this.#revision;
  }

  get(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry && publicEntry(entry);
  }

  list(prefix: string): Listing {
    const entries: Entry[] = [];
    for (const entry of this.#entries.values()) if (entry.key.startsWith(prefix)) entries.push(publicEntry(entry));
    entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    return { revision: this.#revision, entries };
  }

  /** As {@link Registry.txn}. */
  txn(compares: readonly Compare[], operations: readonly StoreOperation[]): number {
    checkTxn(compares, operations);
    for (const { key, modRevision } of compares) {
      const found = this.#entries.get(key)?.modRevision ?? 0;
      if (found !== modRevision) {
        throw new ServingError(
          "REGISTRY_CONFLICT",
          `${key} is at revision ${found}, not ${modRevision}; read it again`,
        );
      }
    }
    for (const operation of operations) {
      if ("put" in operation && operation.leaseId !== undefined && !this.#leases.has(operation.leaseId)) {
        throw new ServingError("LEASE_LOST", `lease ${operation.leaseId} ended; take a new one`);
      }
    }
    this.#apply(operations);
    return this.#revision;
  }

  grantLease(ttlSeconds: number): string {
    const id = `${this.#bornAtMs}-${this.#nextLease++}`;
    const lease: StoredLease = { ttlMs: ttlSeconds * 1000, keys: new Set(), cancelExpiry: () => undefined };
    this.#leases.set(id, lease);
    this.#armExpiry(id, lease);
    return id;
  }

  /** @returns false when the lease is gone */
  keepAlive(id: string): boolean {
    const lease = this.#leases.get(id);
    if (!lease) return false;
    lease.cancelExpiry();
    this.#armExpiry(id, lease);
    return true;
  }

  /** Undefined when the lease is gone. */
  keysOfLease(id: string): string[] | undefined {
    const lease = this.#leases.get(id);
    return lease && [...lease.keys];
  }

  /** Deletes the lease's keys; unknown leases are gone already. */
  revokeLease(id: string): void {
    const lease = this.#leases.get(id);
    if (!lease) return;
    lease.cancelExpiry();
    this.#leases.delete(id);
    this.#apply([...lease.keys].sort().map((key) => ({ delete: key })));
  }

  /** Calls back after every transaction that changed something; must not throw. @returns a function that ends it */
  subscribe(listener: (changes: readonly Change[], revision: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets timers; for the process's end. */
  close(): void {
    for (const lease of this.#leases.values()) lease.cancelExpiry();
    this.#listeners.clear();
  }

  #armExpiry(id: string, lease: StoredLease): void {
    lease.cancelExpiry = this.#clock.after(lease.ttlMs, () => this.revokeLease(id));
  }

  #apply(operations: readonly StoreOperation[]): void {
    const revision = this.#revision + 1;
    const changes: Change[] = [];
    for (const operation of operations) {
      const key = "put" in operation ? operation.put : operation.delete;
      const old = this.#entries.get(key);
      if (old?.leaseId !== undefined) this.#leases.get(old.leaseId)?.keys.delete(key);
      if (!("put" in operation)) {
        if (this.#entries.delete(key)) changes.push({ type: "delete", key });
        continue;
      }
      const entry: StoredEntry = {
        key,
        value: Uint8Array.from(operation.value),
        modRevision: revision,
        createRevision: old?.createRevision ?? revision,
        leaseId: operation.leaseId,
      };
      this.#entries.set(key, entry);
      if (operation.leaseId !== undefined) this.#leases.get(operation.leaseId)?.keys.add(key);
      changes.push({ type: "put", entry: publicEntry(entry) });
    }
    if (changes.length === 0) return;
    this.#revision = revision;
    for (const listener of this.#listeners) listener(changes, revision);
  }
}

function publicEntry({ key, value, modRevision, createRevision }: StoredEntry): Entry {
  return { key, value, modRevision, createRevision };
}
