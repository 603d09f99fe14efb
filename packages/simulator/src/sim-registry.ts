import type { Random } from "@shardserve/core";
import { type Change, type Compare, type Entry, MemoryStore } from "@shardserve/registry";
import type { Timeline } from "./timeline.js";

type Operation = Parameters<MemoryStore["txn"]>[1][number];

/** What etcd had to do. */
export interface RegistryLoad {
  /** Transactions that changed something, by who wrote. */
  readonly writes: Readonly<Record<string, number>>;
  readonly writtenBytes: number;
  readonly keepAlives: number;
  /** Bytes sent to watchers. */
  readonly watchedBytes: number;
}

/** A watcher's copy of the keys under a prefix, as late as its network makes it. */
export interface SimView {
  readonly entries: ReadonlyMap<string, Entry>;
  /** As RegistryView's: how often the registry turned out to have lost its history. */
  readonly historyCount: number;
}

/** The in-process registry's store behind a network with delays, and a count of everything that it is asked for. */
export class SimRegistry {
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #watchers: Watcher[] = [];
  readonly #entries = new Map<string, Entry>();
  #store: MemoryStore;
  #writes: Record<string, number> = {};
  #writtenBytes = 0;
  #keepAlives = 0;
  #watchedBytes = 0;

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline;
    this.#random = random;
    this.#store = this.#newStore();
  }

  get load(): RegistryLoad {
    return {
      writes: { ...this.#writes },
      writtenBytes: this.#writtenBytes,
      keepAlives: this.#keepAlives,
      watchedBytes: this.#watchedBytes,
    };
  }

  /** All keys as they stand. An entry is the same object until its key is written again. */
  entries(): Iterable<Entry> {
    return this.#entries.values();
  }

  /** Brings one's own write into a view at once, as a process that waits until its view has reached the write's revision. */
  reach(view: SimView, operations: readonly Operation[]): void {
    const { entries } = view as Watcher;
    for (const operation of operations) {
      const key = "put" in operation ? operation.put : operation.delete;
      const entry = this.#entries.get(key);
      if (entry) entries.set(key, entry);
      else entries.delete(key);
    }
  }

  /** @throws ServingError REGISTRY_CONFLICT, LEASE_LOST */
  txn(who: string, compares: readonly Compare[], operations: readonly Operation[]): number {
    const revision = this.#store.txn(compares, operations);
    this.#writes[who] = (this.#writes[who] ?? 0) + 1;
    for (const operation of operations) if ("put" in operation) this.#writtenBytes += operation.value.byteLength;
    return revision;
  }

  grantLease(ttlSeconds: number): string {
    return this.#store.grantLease(ttlSeconds);
  }

  /** @returns false when the lease is gone */
  keepAlive(lease: string): boolean {
    this.#keepAlives++;
    return this.#store.keepAlive(lease);
  }

  revokeLease(lease: string): void {
    this.#store.revokeLease(lease);
  }

  /** All keys are lost and the revision begins anew, as after the loss of all members. */
  loseHistory(): void {
    this.#store.close();
    this.#store = this.#newStore();
    this.#entries.clear();
    for (const watcher of this.#watchers) {
      this.#deliver(watcher, () => {
        watcher.entries.clear();
        watcher.historyCount++;
      });
    }
  }

  /** @returns the view, and a function that ends it */
  watch(prefix: string, onChange: () => void): { readonly view: SimView; readonly end: () => void } {
    const entries = new Map([...this.#entries].filter(([key]) => key.startsWith(prefix)));
    const watcher: Watcher = { prefix, entries, onChange, historyCount: 0, lastAtMs: 0 };
    this.#watchers.push(watcher);
    return {
      view: watcher,
      end: () => {
        const at = this.#watchers.indexOf(watcher);
        if (at >= 0) this.#watchers.splice(at, 1);
      },
    };
  }

  #newStore(): MemoryStore {
    const store = new MemoryStore({ clock: this.#timeline });
    store.subscribe((changes) => this.#spread(changes));
    return store;
  }

  #spread(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.type === "put") this.#entries.set(change.entry.key, change.entry);
      else this.#entries.delete(change.key);
    }
    for (const watcher of this.#watchers) {
      const ours = changes.filter((change) =>
        (change.type === "put" ? change.entry.key : change.key).startsWith(watcher.prefix),
      );
      if (ours.length === 0) continue;
      for (const change of ours) this.#watchedBytes += change.type === "put" ? change.entry.value.byteLength : 0;
      this.#deliver(watcher, () => {
        for (const change of ours) {
          if (change.type === "put") watcher.entries.set(change.entry.key, change.entry);
          else watcher.entries.delete(change.key);
        }
      });
    }
  }

  /** In order, after 1 to 20 ms. */
  #deliver(watcher: Watcher, apply: () => void): void {
    const nowMs = this.#timeline.nowMs();
    const atMs = Math.max(watcher.lastAtMs, nowMs + 1 + 19 * this.#random.next());
    watcher.lastAtMs = atMs;
    this.#timeline.after(atMs - nowMs, () => {
      apply();
      watcher.onChange();
    });
  }
}

interface Watcher extends SimView {
  readonly prefix: string;
  readonly entries: Map<string, Entry>;
  readonly onChange: () => void;
  historyCount: number;
  lastAtMs: number;
}
