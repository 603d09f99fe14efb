import type { Clock, Logger, Random } from "@shardserve/core";
import type { Cluster, Redis } from "ioredis";
import { Circuit } from "../replicas/circuit.js";
import type { LookupMetrics } from "../metrics.js";

/** The second level of the row cache, which the executors of a cluster share. */
export interface RedisLevelOptions {
  /** Its offline queue and resending are off: what cannot be sent now fails now. Closed with the level. */
  readonly client: Redis | Cluster;
  /** True for a Redis Cluster, where one command may ask only for keys of one slot. */
  readonly isCluster: boolean;
  /** Longest time that a lookup waits for Redis, in milliseconds. */
  readonly budgetMs: number;
  /** How long Redis keeps a row, in seconds. */
  readonly ttlSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: LookupMetrics;
  readonly logger: Logger;
}

/** Reads under way; a Redis that hangs must not collect more. */
const READS_MAX = 64;
/** Keys of one command. */
const KEYS_PER_COMMAND = 512;
/** Commands that write, under way. */
const WRITES_MAX = 4;
const ERROR_LOG_INTERVAL_MS = 10_000;

/**
 * The connection to the Redis that the executors of a cluster share; one a process. Nothing it does is waited for longer than
 * the budget, and after a few failures it is left alone until a single read succeeds.
 */
export class RedisLevel {
  readonly #options: RedisLevelOptions;
  readonly #circuit: Circuit;
  #reads = 0;
  #writes = 0;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: RedisLevelOptions) {
    this.#options = options;
    this.#circuit = new Circuit(options.random);
    options.client.on("error", (error: Error) => this.#log(error));
  }

  get metrics(): LookupMetrics {
    return this.#options.metrics;
  }

  get ttlSeconds(): number {
    return this.#options.ttlSeconds;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get isCluster(): boolean {
    return this.#options.isCluster;
  }

  /** Whether one more command that writes may be sent. */
  get canWrite(): boolean {
    return this.#writes < WRITES_MAX;
  }

  /** True while Redis is to be left alone. */
  get isOff(): boolean {
    return this.#options.client.status !== "ready" || this.#circuit.isOpen;
  }

  /**
   * Asks for values, in groups whose keys one command may name. What has not come within the budget counts as absent.
   * Never rejects.
   *
   * @param groups  positions into `keys`
   * @returns per key its value, or null
   */
  async read(keys: readonly Buffer[], groups: readonly (readonly number[])[]): Promise<readonly (Buffer | null)[]> {
    const { client, clock, budgetMs, metrics } = this.#options;
    const values: (Buffer | null)[] = keys.map(() => null);
    const startMs = clock.nowMs();
    const state = this.#circuit.state(startMs);
    if (state === "open" || this.#reads >= READS_MAX || client.status !== "ready") {
      metrics.redisReads.inc({ outcome: "skipped" });
      return values;
    }
    if (state === "probe") this.#circuit.probing(startMs);
    this.#reads++;
    let isLate = false;
    let failure: Error | undefined;
    const commands = groups
      .flatMap((group) => chunks(group))
      .map(async (group) => {
        const found = await client.mgetBuffer(group.map((i) => keys[i]!));
        if (!isLate) group.forEach((i, k) => (values[i] = found[k] ?? null));
      });
    const all = Promise.all(commands).catch((error: Error) => {
      failure = error;
    });
    void all.finally(() => this.#reads--);
    await new Promise<void>((resolve) => {
      const cancelTimer = clock.after(budgetMs, () => {
        isLate = true;
        resolve();
      });
      void all.finally(() => {
        cancelTimer();
        resolve();
      });
    });
    isLate ||= failure !== undefined;
    const nowMs = clock.nowMs();
    metrics.redisSeconds.observe((nowMs - startMs) / 1000);
    metrics.redisReads.inc({ outcome: failure ? "failed" : isLate ? "late" : "ok" });
    if (isLate) this.#failed(nowMs, failure ?? new Error(`no answer within ${budgetMs} ms`));
    else this.#circuit.succeeded();
    return values;
  }

  /** Sends one command of a write. Never rejects. @returns whether all was stored */
  async write(pairs: readonly { readonly key: Buffer; readonly value: Buffer }[]): Promise<boolean> {
    const { client, clock, ttlSeconds } = this.#options;
    this.#writes++;
    try {
      if (this.isCluster) {
        await Promise.all(pairs.map(({ key, value }) => client.set(key, value, "EX", ttlSeconds)));
      } else {
        const pipeline = client.pipeline();
        for (const { key, value } of pairs) pipeline.set(key, value, "EX", ttlSeconds);
        for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
      }
      return true;
    } catch (error) {
      this.#failed(clock.nowMs(), error as Error);
      return false;
    } finally {
      this.#writes--;
    }
  }

  /** Ends the connection; what is under way is given up. */
  close(): void {
    this.#options.client.disconnect();
  }

  #failed(nowMs: number, error: Error): void {
    if (this.#circuit.failed(nowMs)) this.#options.logger.warn({ error: error.message }, "Redis is left alone for now");
  }

  #log(error: Error): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#loggedAtMs < ERROR_LOG_INTERVAL_MS) return;
    this.#loggedAtMs = nowMs;
    this.#options.logger.warn({ error: error.message }, "Redis cannot be used; rows come from shards alone");
  }
}

function chunks(group: readonly number[]): number[][] {
  const parts: number[][] = [];
  for (let at = 0; at < group.length; at += KEYS_PER_COMMAND) parts.push(group.slice(at, at + KEYS_PER_COMMAND));
  return parts;
}
