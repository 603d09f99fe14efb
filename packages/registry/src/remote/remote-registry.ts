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
import { type Address, Backoff, FramedClient } from "@shardserve/transport";
import { KeptLease } from "../kept-lease.js";
import { toStoreOperation } from "../memory/memory-registry.js";
import type { CallOptions, Compare, Delete, Entry, Lease, Listing, Put, Registry, WatchEvent } from "../registry.js";
import { readEntry, readLeaseKeys, readListing, readWatchEvent } from "./registry-wire.js";
import { checkTxn } from "../txn-rules.js";

/** For {@link RemoteRegistry}. */
export interface RemoteRegistryOptions {
  /** Where a {@link RegistryServer} listens. */
  readonly address: Address;
  /** Who calls, for the server's log: "executor executor-1". */
  readonly peer: string;
  /** Longest a call may take, in milliseconds; default 3000. */
  readonly callTimeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** A registry that another process on this machine holds in memory ({@link RegistryServer}): what `up` gives its children. */
export class RemoteRegistry implements Registry {
  readonly #client: FramedClient;
  readonly #callTimeoutMs: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #closed = new AbortController();
  readonly #started: Promise<void>;

  /** Connects in the background: a server that is away shows in the first call. */
  constructor(options: RemoteRegistryOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
    this.#logger = options.logger ?? silentLogger;
    this.#callTimeoutMs = options.callTimeoutMs ?? 3_000;
    this.#client = new FramedClient({
      address: options.address,
      peer: options.peer,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
    });
    this.#started = this.#client.start();
  }

  async get(key: string, options: CallOptions = {}): Promise<Entry | undefined> {
    const found = await this.#call("get", { key }, options);
    return found === null ? undefined : readEntry(found);
  }

  async list(prefix: string, options: CallOptions = {}): Promise<Listing> {
    return readListing(await this.#call("list", { prefix }, options));
  }

  async txn(
    compares: readonly Compare[],
    operations: readonly (Put | Delete)[],
    options: CallOptions = {},
  ): Promise<number> {
    checkTxn(compares, operations);
    return (await this.#call("txn", { compares, operations: operations.map(toStoreOperation) }, options)) as number;
  }

  lease(ttlSeconds: number, options: CallOptions = {}): Promise<Lease> {
    const backend = {
      grantLease: async (ttl: number, call: CallOptions) =>
        (await this.#call("grant", { ttlSeconds: ttl }, call)) as string,
      keepAlive: async (id: string, call: CallOptions) => (await this.#call("keepAlive", { id }, call)) as boolean,
      keysOfLease: async (id: string, call: CallOptions) =>
        readLeaseKeys(await this.#call("keysOfLease", { id }, call)),
      revokeLease: async (id: string, call: CallOptions) => void (await this.#call("revoke", { id }, call)),
    };
    const environment = { clock: this.#clock, logger: this.#logger, closed: this.#closed.signal };
    return KeptLease.grant(backend, ttlSeconds, environment, options);
  }

  /** Each connection gives a snapshot and what follows; a lost one is made again. */
  async *watch(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<WatchEvent, void, void> {
    const ended = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const backoff = new Backoff({ firstMs: 50, maxMs: 1_000 }, this.#random);
    const outage = new OutageLog(this.#logger, this.#clock, "watch interrupted; it starts again", "watches again");
    await this.#started;
    while (!ended.aborted) {
      try {
        for await (const item of this.#client.stream("watch", { prefix }, { signal: ended })) {
          backoff.reset();
          outage.works({ prefix });
          yield readWatchEvent(item);
        }
      } catch (error) {
        if (ended.aborted) return;
        outage.failed(ServingError.from(error), { prefix });
      }
      await sleep(this.#clock, backoff.nextMs(), ended).catch(() => undefined); // ended meanwhile
    }
  }

  async close(): Promise<void> {
    this.#closed.abort(new ServingError("REGISTRY_UNAVAILABLE", "the registry is closed"));
    await this.#started;
    await this.#client.close();
  }

  async #call(method: string, params: unknown, { signal }: CallOptions): Promise<unknown> {
    await this.#started;
    signal?.throwIfAborted();
    if (this.#closed.signal.aborted) throw this.#closed.signal.reason;
    try {
      return await this.#client.call(method, params, {
        deadlineMs: this.#clock.nowMs() + this.#callTimeoutMs,
        ...(signal && { signal }),
      });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const cast = ServingError.from(error);
      if (!["UNAVAILABLE", "DEADLINE_EXCEEDED", "DRAINING", "CANCELLED"].includes(cast.code)) throw cast;
      throw new ServingError("REGISTRY_UNAVAILABLE", `${method}: the registry cannot be reached: ${cast.message}`, {
        cause: cast,
      });
    }
  }
}
