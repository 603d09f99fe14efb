import {
  type Clock,
  type Logger,
  OutageLog,
  type Random,
  ServingError,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import { Backoff } from "@shardserve/transport";
import type { Delete, Lease, Put, Registry } from "./registry.js";

/** For {@link LeasedKeys}. */
export interface LeasedKeysOptions {
  /** How long the keys outlive their holder, in seconds; default 10. Shorter finds the dead sooner and costs more keepalives. */
  readonly ttlSeconds?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** A caller of `set` or `delete`. */
interface Waiter {
  readonly isDone: () => boolean;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

/**
 * Keys that exist as long as this process does. One lease holds them all; when it is lost (registry away for too long, a
 * process that was stopped, an operator's revoke) a new one is taken and every key is written again, with backoff, until
 * `close`.
 */
export class LeasedKeys implements AsyncDisposable {
  readonly #registry: Registry;
  readonly #ttlSeconds: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #backoff: Backoff;
  readonly #outage: OutageLog;
  readonly #twin: OutageLog;
  readonly #closed = new AbortController();
  /** What should stand in the registry; undefined = should be deleted. */
  readonly #wanted = new Map<string, Uint8Array | undefined>();
  /** What this lease has written, by identity of the value. */
  #written = new Map<string, Uint8Array | undefined>();
  #lease: Lease | undefined;
  #running: Promise<void> | undefined;
  #waiters: Waiter[] = [];
  #lossCount = 0;
  #cancelCheck: () => void = () => undefined;

  constructor(registry: Registry, options: LeasedKeysOptions = {}) {
    this.#registry = registry;
    this.#ttlSeconds = options.ttlSeconds ?? 10;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#backoff = new Backoff({ firstMs: 100, maxMs: 3_000 }, options.random ?? systemRandom());
    this.#outage = new OutageLog(
      this.#logger,
      this.#clock,
      "registration failed; it is tried again",
      "registered again",
    );
    this.#twin = new OutageLog(
      this.#logger,
      this.#clock,
      "another process takes this one's place: both have the same --id; end one of them",
      "this process has its place again",
    );
    this.#checkLater();
  }

  /** How often the lease was lost and taken again. */
  get lossCount(): number {
    return this.#lossCount;
  }

  /** Lease in force; undefined while there is none. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  /**
   * Settles when the registry has the value, however long it is away; it is written also if the caller stops waiting.
   *
   * @throws the signal's reason; ServingError DRAINING after close
   */
  set(key: string, value: Uint8Array, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#want(key, Uint8Array.from(value), options.signal);
  }

  /** Settles when the key is gone. */
  delete(key: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#want(key, undefined, options.signal);
  }

  /** Ends the lease, and the keys with it. When the registry is away they expire instead. */
  async close(): Promise<void> {
    this.#cancelCheck();
    if (!this.#closed.signal.aborted) {
      const reason = new ServingError("DRAINING", "the registration is closed");
      this.#closed.abort(reason);
      for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
    }
    await this.#running;
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.revoke().catch((error: unknown) => {
      this.#logger.warn({ error: ServingError.from(error).message }, "the lease was not revoked; it will expire");
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #want(key: string, value: Uint8Array | undefined, signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed.signal.aborted) return Promise.reject(this.#closed.signal.reason as Error);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    this.#wanted.set(key, value);
    this.#settle(); // who asked for an older value of the key: with the registry away they would only grow in number
    return new Promise<void>((resolve, reject) => {
      // A newer value for the key settles this one too: what was asked for is no longer wanted.
      const isDone = () => this.#wanted.get(key) !== value || this.#isWritten(key);
      const stop = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        waiter.reject(signal?.reason as Error);
      };
      const forget = () => signal?.removeEventListener("abort", stop);
      const waiter: Waiter = {
        isDone,
        resolve: () => {
          forget();
          resolve();
        },
        reject: (reason) => {
          forget();
          reject(reason);
        },
      };
      signal?.addEventListener("abort", stop, { once: true });
      this.#waiters.push(waiter);
      this.#run();
    });
  }

  #isWritten(key: string): boolean {
    return this.#written.has(key) && this.#written.get(key) === this.#wanted.get(key);
  }

  /** One writer at a time; it ends when nothing is left to write. */
  #run(): void {
    this.#running ??= this.#write().finally(() => {
      this.#running = undefined;
      if (!this.#closed.signal.aborted && this.#dirty().length > 0) this.#run();
    });
  }

  async #write(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted && this.#dirty().length > 0) {
      try {
        const lease = await this.#takeLease(signal);
        const batch = this.#dirty().slice(0, 64);
        const operations = batch.map((key) => operation(key, this.#wanted.get(key), lease));
        const values = batch.map((key) => this.#wanted.get(key));
        await this.#registry.txn([], operations, { signal });
        if (this.#lease !== lease) continue; // lost meanwhile: the keys went with it
        for (const [i, key] of batch.entries()) this.#written.set(key, values[i]);
        this.#backoff.reset();
        this.#outage.works();
        this.#settle();
      } catch (error) {
        if (signal.aborted) return;
        const cast = ServingError.from(error);
        if (cast.code === "LEASE_LOST") this.#forget();
        this.#outage.failed(cast);
        await sleep(this.#clock, this.#backoff.nextMs(), signal).catch(() => undefined); // closed meanwhile
      }
    }
  }

  async #takeLease(signal: AbortSignal): Promise<Lease> {
    if (this.#lease) return this.#lease;
    const lease = await this.#registry.lease(this.#ttlSeconds, { signal });
    this.#lease = lease;
    lease.lost.addEventListener("abort", () => {
      if (this.#lease !== lease) return;
      this.#lossCount++;
      this.#forget();
      this.#run();
    });
    return lease;
  }

  #checkLater(): void {
    this.#cancelCheck = this.#clock.after(this.#ttlSeconds * 1000, () => {
      void this.#check().finally(() => {
        if (!this.#closed.signal.aborted) this.#checkLater();
      });
    });
  }

  /**
   * Are the keys still ours? Another process under the same name overwrites them, and takes them with it when it ends, while our
   * lease lives on and says nothing. Whoever writes or deletes a key takes it out of our lease: one question for all of them,
   * however many versions a shard holds, and only what is missing there is read.
   */
  async #check(): Promise<void> {
    const { signal } = this.#closed;
    const lease = this.#lease;
    const leased = await lease?.keys({ signal }).catch(() => undefined); // away, or lost: its end says so itself
    if (!leased || signal.aborted || this.#running || this.#lease !== lease) return;
    for (const [key, value] of this.#written) {
      if (value === undefined || leased.has(key)) continue;
      const found = await this.#registry.get(key, { signal }).catch(() => "away" as const);
      // Written anew meanwhile: there is nothing to say about the value that was asked for.
      if (found === "away" || signal.aborted || this.#running || this.#written.get(key) !== value) return;
      if (!found) {
        this.#logger.warn({ key }, "the registration was deleted; it is written again");
        this.#written = new Map();
        return this.#run();
      }
      if (Buffer.compare(found.value, value) !== 0)
        return this.#twin.failed(new ServingError("REGISTRY_CONFLICT", `${key} was written by another process`));
    }
    this.#twin.works();
  }

  #forget(): void {
    this.#lease = undefined;
    this.#written = new Map();
    for (const [key, value] of this.#wanted) if (value === undefined) this.#wanted.delete(key); // gone with the lease
    this.#settle();
  }

  #dirty(): string[] {
    return [...this.#wanted.keys()].filter((key) => !this.#isWritten(key));
  }

  #settle(): void {
    const done = this.#waiters.filter((waiter) => waiter.isDone());
    this.#waiters = this.#waiters.filter((waiter) => !done.includes(waiter));
    for (const waiter of done) waiter.resolve();
  }
}

function operation(key: string, value: Uint8Array | undefined, lease: Lease): Put | Delete {
  return value === undefined ? { delete: key } : { put: key, value, lease };
}
