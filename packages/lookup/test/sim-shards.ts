import { type Clock, ManualClock, type Random, seededRandom, ServingError } from "@shardserve/core";
import { type PartitionMap, place } from "@shardserve/placement";
import type { StoredRows } from "@shardserve/rowstore";
import { BufferPool, planRows, readLookupRequest, type ReplyPayload, writeRowsHead } from "@shardserve/transport";
import type { LookupBatch } from "../src/batch/batch.js";
import { fetchMisses } from "../src/fetch/fetch.js";
import type { FetchContext } from "../src/fetch/fetch-context.js";
import type { Misses, Routes } from "../src/fetch/frame-plan.js";
import { Hedging } from "../src/replicas/hedging.js";
import { LookupMetrics } from "../src/metrics.js";
import { ShardHealth } from "../src/replicas/shard-health.js";
import type { ShardLink } from "../src/replicas/shard-link.js";

/** How a simulated shard answers a frame: after so many milliseconds with its rows or an error; `never` = not at all. */
export type Behaviour = (
  random: Random,
) => number | "never" | { readonly afterMs: number; readonly error: ServingError };

/** Rows hold their id as an int64: 8 bytes. */
const ROW_BYTES = 8;
const P = 13;

/** A link to a shard that exists only in this process, on a clock of the test's. */
export class SimShard {
  readonly shard: string;
  readonly health: ShardHealth;
  readonly zone: string;
  rowsInFlight = 0;
  readonly channel = 1;
  readonly replyBytesMax = 2 ** 26;
  readonly requestBytesMax = 2 ** 24;
  isReady = true;
  lastError: ServingError | undefined;
  behaviour: Behaviour;
  /** Frames asked, and replies that nobody gave back. */
  asked = 0;
  openReplies = 0;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(shard: string, clock: Clock, seed: number, behaviour: Behaviour, zone = "") {
    this.shard = shard;
    this.zone = zone;
    this.behaviour = behaviour;
    this.#clock = clock;
    this.#random = seededRandom(seed);
    this.health = new ShardHealth(seededRandom(seed + 1));
  }

  holds(): boolean {
    return this.isReady;
  }

  isDown(): boolean {
    return !this.isReady;
  }

  hurry(): void {}

  refresh(): Promise<void> {
    return Promise.resolve();
  }

  ask(
    payload: Uint8Array,
    options: { deadlineMs: number },
    onReply: (reply: ReplyPayload) => void,
    onFail: (error: unknown) => void,
  ): () => void {
    this.asked++;
    const outcome = this.behaviour(this.#random);
    const leftMs = options.deadlineMs - this.#clock.nowMs();
    const afterMs = outcome === "never" ? leftMs : typeof outcome === "number" ? outcome : outcome.afterMs;
    return this.#clock.after(Math.min(afterMs, leftMs), () => {
      if (afterMs >= leftMs) return onFail(new ServingError("DEADLINE_EXCEEDED", `${this.shard} did not answer`));
      if (typeof outcome === "object") return onFail(outcome.error);
      this.openReplies++;
      const bytes = answer(payload);
      onReply({ bytes, release: () => void this.openReplies-- });
    });
  }
}

function answer(payload: Uint8Array): Uint8Array {
  const { columns, ids, epoch } = readLookupRequest(payload);
  const tables = Array.from({ length: columns.length / 2 }, (_, k) => ({
    table: columns[2 * k] as number,
    status: 0,
    rowCount: columns[2 * k + 1] as number,
    rowBytes: ROW_BYTES,
    defaults: new Uint32Array(0),
    detail: 0,
  }));
  const layout = planRows(tables);
  const reply = Buffer.alloc(layout.bytes);
  writeRowsHead(reply, layout, 1, epoch, tables);
  let at = 0;
  tables.forEach(({ rowCount }, k) => {
    for (let i = 0; i < rowCount; i++, at++) {
      reply.writeBigInt64LE(ids[at] as bigint, (layout.rowOffsets[k] as number) + i * ROW_BYTES);
    }
  });
  return reply;
}

/** What became of one simulated lookup. */
export interface SimResult {
  readonly latencyMs: number;
  readonly error: ServingError | undefined;
}

/** Shards, their map, and lookups over them in simulated time. Every row is checked; a row that is written twice throws. */
export class SimCluster {
  readonly clock = new ManualClock();
  readonly shards: readonly SimShard[];
  readonly metrics = new LookupMetrics();
  readonly hedging: Hedging;
  /** First frames, hedges not counted. */
  frames = 0;
  readonly #map: PartitionMap;
  readonly #random: Random;
  readonly #zone: string;
  readonly #pool = new BufferPool();

  constructor(options: {
    readonly seed: number;
    readonly replication: number;
    readonly behaviours: readonly Behaviour[];
    readonly hedgeShare?: number;
    readonly zones?: readonly string[];
    readonly zone?: string;
  }) {
    const { seed, behaviours, zones = [], replication } = options;
    this.#random = seededRandom(seed);
    this.#zone = options.zone ?? "";
    this.shards = behaviours.map(
      (behaviour, i) => new SimShard(`s${i}`, this.clock, seed * 100 + i, behaviour, zones[i]),
    );
    const nodes = this.shards.map(({ shard }) => ({ id: shard, weight: 1, zone: shard }));
    this.#map = place(nodes, P, replication, { model: "m", version: 1, generation: 1 });
    this.hedging = new Hedging({ budgetShare: options.hedgeShare ?? 0.05 });
    const earn = this.hedging.earn.bind(this.hedging);
    this.hedging.earn = () => {
      this.frames++;
      earn();
    };
  }

  get routes(): Routes {
    return { map: this.#map, links: this.shards as unknown as ShardLink[] };
  }

  /** Looks distinct random ids of two tables up. */
  async lookup(idCount: number, timeoutMs = 1_000): Promise<SimResult> {
    const startMs = this.clock.nowMs();
    const ids = new Set<number>();
    while (ids.size < idCount) ids.add(this.#random.uint32() % 100_000);
    const lo = Int32Array.from(ids);
    const half = idCount >> 1;
    const misses: Misses = {
      lo,
      hi: new Int32Array(idCount),
      slots: Int32Array.from(lo, (_, i) => i),
      sections: [
        { table: 0, rowBytes: ROW_BYTES, start: 0, end: half },
        { table: 4, rowBytes: ROW_BYTES, start: half, end: idCount },
      ],
    };
    const rows = new BigInt64Array(idCount).fill(-1n);
    let isSettled = false;
    const batch = {
      epoch: 0,
      missCount: idCount,
      misses,
      accept(_: number, { bytes }: StoredRows, offset: number, count: number, slots: Int32Array, at: number) {
        if (isSettled) throw new Error("rows were written after the lookup had settled");
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        for (let i = 0; i < count; i++) {
          const slot = slots[at + i] as number;
          if (rows[slot] !== -1n) throw new Error("a row was written twice");
          rows[slot] = view.getBigInt64(offset + i * ROW_BYTES, true);
        }
      },
    };
    const context: FetchContext = {
      routes: () => this.routes,
      clock: this.clock,
      random: this.#random,
      hedging: this.hedging,
      metrics: this.metrics,
      servable: "m/1",
      zone: this.#zone,
      pool: this.#pool,
      redis: undefined,
      redisFor: "misses",
    };
    let error: ServingError | undefined;
    try {
      await fetchMisses(batch as unknown as LookupBatch, context, { deadlineMs: startMs + timeoutMs });
      for (let i = 0; i < idCount; i++) if (rows[i] !== BigInt(lo[i] as number)) throw new Error(`row ${i} is wrong`);
    } catch (reason) {
      error = ServingError.from(reason);
      if (error.code === "INTERNAL") throw reason;
    }
    isSettled = true;
    return { latencyMs: this.clock.nowMs() - startMs, error };
  }

  /** Sends a lookup each `everyMs` for `durationMs`, then waits for all of them. */
  async load(durationMs: number, everyMs: number, idCount: number): Promise<readonly SimResult[]> {
    const results: Promise<SimResult>[] = [];
    const endMs = this.clock.nowMs() + durationMs;
    for (let nextMs = this.clock.nowMs(); this.clock.nowMs() < endMs; await this.step()) {
      if (this.clock.nowMs() < nextMs) continue;
      results.push(this.lookup(idCount));
      nextMs += everyMs;
    }
    return this.finish(Promise.all(results));
  }

  /** Lets time go by until the promise settles. */
  async finish<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const over = promise.finally(() => {
      isOver = true;
    });
    while (!isOver) await this.step();
    return over;
  }

  /** Half a millisecond, and what follows from it. */
  async step(): Promise<void> {
    this.clock.advance(0.5);
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }

  hedges(outcome: string): Promise<number> {
    return this.metrics.hedges.get().then(({ values }) => values.find((v) => v.labels.outcome === outcome)?.value ?? 0);
  }
}

export function percentile(results: readonly SimResult[], share: number): number {
  const sorted = results.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number;
}
