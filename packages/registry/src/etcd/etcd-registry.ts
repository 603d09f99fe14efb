import {
  type Clock,
  isServingError,
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
import type { Etcd3, IKeyValue } from "etcd3";
import { castEtcdError, type EtcdConnection, openEtcd } from "./etcd-client.js";
import { EtcdTrouble } from "./etcd-trouble.js";
import { cancelSafely, watchStream } from "./etcd-watch.js";
import { OwnClient } from "./own-client.js";
import { KeptLease } from "../kept-lease.js";
import type { CallOptions, Compare, Delete, Entry, Lease, Listing, Put, Registry, WatchEvent } from "../registry.js";
import { checkTxn } from "../txn-rules.js";

/** For {@link EtcdRegistry}. */
export interface EtcdRegistryOptions extends EtcdConnection {
  /** Cluster name: all keys live under `/shardserve/CLUSTER/`. */
  readonly cluster: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** The registry in etcd (v3 API, 3.4 or later). */
export class EtcdRegistry implements Registry {
  readonly prefix: string;
  readonly #connection: EtcdConnection;
  #client: Etcd3;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #trouble: EtcdTrouble;
  readonly #closed = new AbortController();

  /** Connects lazily: an etcd that is away shows in the first call. */
  constructor(options: EtcdRegistryOptions) {
    this.prefix = `/shardserve/${encodeURIComponent(options.cluster)}/`;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
    this.#logger = options.logger ?? silentLogger;
    this.#connection = options;
    this.#client = openEtcd(options, this.#clock);
    this.#trouble = new EtcdTrouble(options, this.#clock);
  }

  async get(key: string, options: CallOptions = {}): Promise<Entry | undefined> {
    const request = { key: this.#bytes(key) };
    const { kvs } = await this.#call(`get ${this.prefix}${key}`, () => this.#client.kv.range(request), options);
    const found = kvs[0];
    return found && this.#entry(found);
  }

  async list(prefix: string, options: CallOptions = {}): Promise<Listing> {
    const key = this.#bytes(prefix);
    const request = { key, range_end: endOfPrefix(key) };
    const { kvs, header } = await this.#call(
      `list ${this.prefix}${prefix}`,
      () => this.#client.kv.range(request),
      options,
    );
    return { revision: Number(header.revision), entries: kvs.map((found) => this.#entry(found)) };
  }

  async txn(
    compares: readonly Compare[],
    operations: readonly (Put | Delete)[],
    options: CallOptions = {},
  ): Promise<number> {
    checkTxn(compares, operations);
    const request = {
      compare: compares.map(({ key, modRevision }) => ({
        target: "Mod" as const,
        result: "Equal" as const,
        key: this.#bytes(key),
        mod_revision: modRevision,
      })),
      success: operations.map((operation) => this.#operation(operation)),
      failure: [],
    };
    const what = `write ${operations.map((op) => ("put" in op ? op.put : op.delete)).join(", ")}`;
    const { succeeded, header } = await this.#call(what, () => this.#client.kv.txn(request), options);
    if (!succeeded) {
      const keys = compares.map(({ key, modRevision }) => `${key} at ${modRevision}`).join(", ");
      throw new ServingError("REGISTRY_CONFLICT", `${what}: no longer so: ${keys}; read again`);
    }
    return Number(header.revision);
  }

  lease(ttlSeconds: number, options: CallOptions = {}): Promise<Lease> {
    const environment = { clock: this.#clock, logger: this.#logger, closed: this.#closed.signal };
    return KeptLease.grant(
      {
        grantLease: async (ttl, call) =>
          (await this.#call("lease", () => this.#client.leaseClient.leaseGrant({ TTL: ttl }), call)).ID,
        keepAlive: (id, call) => this.#call("keepalive", () => keepAliveOnce(this.#client, id, call.signal), call),
        keysOfLease: (id, call) => this.#keysOfLease(id, call),
        revokeLease: (id, call) => this.#revoke(id, call),
      },
      ttlSeconds,
      environment,
      options,
    );
  }

  /**
   * A listing, then the stream of changes behind it; whatever ends the stream (etcd away, compaction, a slow reader, a
   * member that fell behind), it starts again with a listing. So there is one way to be right, and no delete is missed.
   *
   * The stream is opened before the listing is made. One opened behind it, at the listing's next revision, would read
   * etcd's history, and where that very revision deletes a key and is compacted first, the delete is not in it and
   * nothing says so (etcd-io/etcd#18089, fixed in 3.4.34 and 3.5.16).
   */
  async *watch(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<WatchEvent, void, void> {
    const ended = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const backoff = new Backoff({ firstMs: 100, maxMs: 2_000 }, this.#random);
    const outage = new OutageLog(
      this.#logger,
      this.#clock,
      "watch interrupted; it lists and watches again",
      "watches again",
    );
    const key = this.#bytes(prefix);
    const range = { key, range_end: endOfPrefix(key) };
    using own = new OwnClient(() => openEtcd(this.#connection, this.#clock));
    let hasWorked = false;
    while (!ended.aborted) {
      let isAnswered = false;
      try {
        let listedRevision = 0;
        for await (const { created, events } of watchStream(own.get(), range, ended)) {
          isAnswered = true;
          if (created) {
            const { revision, entries } = await this.list(prefix, { signal: ended });
            listedRevision = revision;
            hasWorked = true;
            outage.works({ prefix });
            yield { type: "snapshot", revision, entries };
            continue;
          }
          backoff.reset();
          const news = events.filter(({ kv }) => Number(kv.mod_revision) > listedRevision);
          if (news.length === 0) continue;
          yield {
            type: "changes",
            revision: Math.max(...news.map(({ kv }) => Number(kv.mod_revision))),
            changes: news.map(({ type, kv }) =>
              type === "Put" ? { type: "put", entry: this.#entry(kv) } : { type: "delete", key: this.#key(kv.key) },
            ),
          };
        }
      } catch (error) {
        if (ended.aborted) return;
        const what = `watch ${this.prefix}${prefix}`;
        const cast = (await castEtcdError(error, what, () => this.#trouble.text())) as ServingError;
        if (cast.code === "REGISTRY_DENIED" && !hasWorked) throw cast; // later, a slip with roles: it may be undone
        outage.failed(cast, { prefix });
        if (isAnswered || error instanceof ServingError || cast.code === "REGISTRY_DENIED") own.drop();
      }
      if (!ended.aborted) await sleep(this.#clock, backoff.nextMs(), ended).catch(() => undefined); // ended meanwhile
    }
  }

  close(): Promise<void> {
    if (!this.#closed.signal.aborted) {
      this.#closed.abort(new ServingError("REGISTRY_UNAVAILABLE", "the registry is closed"));
      this.#client.close();
    }
    return Promise.resolve();
  }

  async #revoke(id: string, options: CallOptions): Promise<void> {
    try {
      await this.#call("revoke", () => this.#client.leaseClient.leaseRevoke({ ID: id }), options);
    } catch (error) {
      if (!isServingError(error, "LEASE_LOST")) throw error;
    }
  }

  async #keysOfLease(id: string, options: CallOptions): Promise<string[] | undefined> {
    const request = { ID: id, keys: true };
    const found = await this.#call("lease keys", () => this.#client.leaseClient.leaseTimeToLive(request), options);
    return Number(found.TTL) < 0 ? undefined : found.keys.map((key) => this.#key(key)); // -1 = there is no such lease
  }

  /** Runs one call; the caller stops waiting when its signal aborts, etcd3 ends the call at its own deadline. */
  async #call<T>(what: string, run: () => Promise<T>, { signal }: CallOptions): Promise<T> {
    signal?.throwIfAborted();
    if (this.#closed.signal.aborted) throw this.#closed.signal.reason;
    const call = this.#renewed(run);
    try {
      const answer = await (signal ? abortable(call, signal) : call);
      this.#trouble.forget();
      return answer;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const cast = castEtcdError(error, what, () => this.#trouble.text());
      throw await (signal ? abortable(cast, signal) : cast);
    }
  }

  /** JWT tokens are of one state of etcd's users, and end with it; etcd3 keeps such a token, so a new client takes its place. */
  async #renewed<T>(run: () => Promise<T>): Promise<T> {
    const client = this.#client;
    try {
      return await run();
    } catch (error) {
      if (!/revision of auth store is old/.test(String(error)) || this.#closed.signal.aborted) throw error;
      if (client === this.#client) {
        this.#client = openEtcd(this.#connection, this.#clock);
        client.close();
      }
      return run();
    }
  }

  #operation(operation: Put | Delete) {
    if (!("put" in operation)) return { request_delete_range: { key: this.#bytes(operation.delete) } };
    const { put, value, lease } = operation;
    const request = { key: this.#bytes(put), value: Buffer.from(value.buffer, value.byteOffset, value.byteLength) };
    return { request_put: lease ? { ...request, lease: lease.id } : request };
  }

  #bytes(key: string): Buffer {
    return Buffer.from(this.prefix + key);
  }

  #key(bytes: Buffer): string {
    return bytes.toString("utf8").slice(this.prefix.length);
  }

  #entry({ key, value, mod_revision, create_revision }: IKeyValue): Entry {
    return {
      key: this.#key(key),
      value,
      modRevision: Number(mod_revision),
      createRevision: Number(create_revision),
    };
  }
}

/** The first key behind all that start with `prefix` (etcd's clientv3.GetPrefixRangeEnd); the prefix is never empty. */
function endOfPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  end[last] = end[last]! + 1; // keys are ASCII: no carry
  return end;
}

/** One keepalive on a stream of its own: nothing is left half-open when etcd goes away between two of them. */
async function keepAliveOnce(client: Etcd3, id: string, signal: AbortSignal | undefined): Promise<boolean> {
  const stream = await client.leaseClient.leaseKeepAlive();
  return new Promise((resolve, reject) => {
    const stop = () => {
      cancelSafely(stream);
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", stop, { once: true });
    const settle = (run: () => void) => {
      signal?.removeEventListener("abort", stop);
      run();
    };
    stream.on("data", ({ TTL }) => {
      stream.end();
      settle(() => resolve(Number(TTL) > 0));
    });
    stream.on("error", (error) => settle(() => reject(error)));
    stream.on("end", () => settle(() => reject(new Error("the keepalive stream ended without an answer"))));
    if (signal?.aborted) stop();
    else stream.write({ ID: id });
  });
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
