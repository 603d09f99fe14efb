import { type Clock, type Logger, ServingError, sleep } from "@shardserve/core";
import type { CallOptions, Lease } from "./registry.js";

/** What a registry offers for leases; the rest is the same for all of them. */
export interface LeaseBackend {
  grantLease(ttlSeconds: number, options: CallOptions): Promise<string>;
  /** @returns false when the lease is gone */
  keepAlive(id: string, options: CallOptions): Promise<boolean>;
  /** @returns undefined when the lease is gone */
  keysOfLease(id: string, options: CallOptions): Promise<Iterable<string> | undefined>;
  revokeLease(id: string, options: CallOptions): Promise<void>;
}

/** Least time for one keepalive, however short the lease. */
const BEAT_MS_MIN = 1000;

/**
 * A lease that is kept alive three times per time-to-live. It counts as lost as soon as it may have ended: when the
 * registry says so, or a whole time-to-live after the last keepalive that was answered was sent. (etcd3's own lease
 * waits two, in which another holder may have taken over.)
 *
 * One keepalive gets an eighth of the time-to-live: a member of the registry that is frozen answers none, and another one
 * must be asked while there is time for it.
 */
export class KeptLease implements Lease {
  readonly id: string;
  readonly ttlSeconds: number;
  readonly #backend: LeaseBackend;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #lost = new AbortController();
  readonly #stop = new AbortController();
  #revoking: Promise<void> | undefined;

  /** @param closed  aborts when the registry is closed: the lease is kept no longer and will expire */
  static async grant(
    backend: LeaseBackend,
    ttlSeconds: number,
    environment: { readonly clock: Clock; readonly logger: Logger; readonly closed: AbortSignal },
    options: CallOptions = {},
  ): Promise<KeptLease> {
    if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < 1) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `a lease of ${ttlSeconds} seconds; it must be an integer of at least 1`,
      );
    }
    const sentMs = environment.clock.nowMs();
    const id = await backend.grantLease(ttlSeconds, options);
    return new KeptLease(backend, id, ttlSeconds, sentMs, environment);
  }

  private constructor(
    backend: LeaseBackend,
    id: string,
    ttlSeconds: number,
    sentMs: number,
    { clock, logger, closed }: { readonly clock: Clock; readonly logger: Logger; readonly closed: AbortSignal },
  ) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.#backend = backend;
    this.#clock = clock;
    this.#logger = logger;
    const signal = AbortSignal.any([this.#stop.signal, closed]);
    this.#keep(sentMs, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#lose(ServingError.from(error).message);
    });
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async keys(options: CallOptions = {}): Promise<ReadonlySet<string>> {
    const found = await this.#backend.keysOfLease(this.id, options);
    if (!found) throw new ServingError("LEASE_LOST", `lease ${this.id} ended; take a new one`);
    return new Set(found);
  }

  revoke(options: CallOptions = {}): Promise<void> {
    this.#stop.abort();
    return (this.#revoking ??= this.#backend.revokeLease(this.id, options));
  }

  async #keep(grantedMs: number, signal: AbortSignal): Promise<void> {
    const ttlMs = this.ttlSeconds * 1000;
    let endsMs = grantedMs + ttlMs;
    let pauseMs = ttlMs / 3;
    for (;;) {
      await sleep(this.#clock, Math.min(pauseMs, Math.max(0, endsMs - this.#clock.nowMs())), signal);
      const sentMs = this.#clock.nowMs();
      if (sentMs >= endsMs) return this.#lose(`no keepalive was answered for ${this.ttlSeconds} s`);
      try {
        const isAlive = await this.#beat(Math.min(endsMs - sentMs, Math.max(BEAT_MS_MIN, ttlMs / 8)), signal);
        if (!isAlive) return this.#lose("the registry ended it");
        endsMs = sentMs + ttlMs;
        pauseMs = ttlMs / 3;
      } catch (error) {
        if (signal.aborted) return;
        pauseMs = ttlMs / 20;
        this.#logger.debug({ lease: this.id, error: ServingError.from(error).message }, "a keepalive failed");
      }
    }
  }

  /** One keepalive, given up after `afterMs`. */
  async #beat(afterMs: number, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController(); // AbortSignal.any would leave one signal more on `signal` each time
    const stop = () => over.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const text = `no answer to a keepalive of lease ${this.id}`;
    const cancel = this.#clock.after(afterMs, () => over.abort(new ServingError("REGISTRY_UNAVAILABLE", text)));
    try {
      return await this.#backend.keepAlive(this.id, { signal: over.signal });
    } finally {
      cancel();
      signal.removeEventListener("abort", stop);
    }
  }

  #lose(why: string): void {
    this.#stop.abort();
    this.#logger.warn({ lease: this.id, why }, "lease lost");
    this.#lost.abort(new ServingError("LEASE_LOST", `lease ${this.id} of ${this.ttlSeconds} s is lost: ${why}`));
  }
}
