import {
  type CancelSignal,
  type Clock,
  invariant,
  type Logger,
  type Random,
  ServingError,
  silentLogger,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import { loadOrt } from "@shardserve/native";
import type { PartitionMap } from "@shardserve/placement";
import {
  emptyRowReport,
  type ReportedLease,
  type RowReport,
  type RowRequest,
  type RowSource,
  rowOutOfRange,
  type TableInfo,
} from "@shardserve/rowstore";
import { BufferPool, type ProofExpectation, type TransportLimits } from "@shardserve/transport";
import { LookupBatch } from "./batch.js";
import { divideCache, slotBytesOf, slotsMaxOf } from "./cache-budget.js";
import { type CachePart, shiftShares } from "./cache-shares.js";
import { type Claimed, claimInTurns, IDS_PER_TURN } from "./claim-in-turns.js";
import { checkDegraded, type DegradedRows, EpochHistory } from "./degraded.js";
import { type FetchContext, fetchMisses, type FetchOptions, type RedisFor } from "./fetch.js";
import { FillBoard } from "./fill-board.js";
import type { Routes } from "./frame-plan.js";
import { findOutOfRange, idAt, idLanes } from "./id-lanes.js";
import { Hedging } from "./hedging.js";
import { LookupTrace } from "./lookup-trace.js";
import { LookupMetrics } from "./metrics.js";
import type { RedisLevel } from "./redis/redis-level.js";
import { RedisRows } from "./redis/redis-rows.js";
import { type ShardDirectory, ShardLink } from "./shard-link.js";
import { TableState } from "./table-state.js";
import { slabRowBytes } from "./table-writer.js";

export interface ShardRowsOptions {
  /** What a shard must prove: cluster, model, version, and digests from this executor's own manifest. */
  readonly expectation: ProofExpectation;
  /** Tables of the version, in the manifest's order. */
  readonly tables: readonly TableInfo[];
  readonly partitionCount: number;
  readonly directory: ShardDirectory;
  /** Identity of this machine: a shard with the same one is reached over its Unix socket. "" = TCP only. */
  readonly machine: string;
  /** Who asks, for the shards' logs: "executor executor-1". */
  readonly peer: string;
  /** Memory for cached rows over all tables, indexes included, in bytes; 0 = no cache. */
  readonly cacheBytes: number;
  /** Our failure domain: replicas in it are preferred; default "" = no preference. */
  readonly zone?: string;
  /** Frames that may be sent to a second replica because the first is late, as a share of all; 0 = none, default 0.05. */
  readonly hedgeShare?: number;
  /** Second level that executors share; absent = none. */
  readonly redis?: RedisLevel;
  /** Whether Redis is asked for every miss, or only for rows that no shard can give; default "misses". */
  readonly redisFor?: RedisFor;
  /** What may stand in for rows that cannot be had; absent = nothing: the lookup fails. */
  readonly degraded?: DegradedRows;
  /** Longest time that one lookup may take where the caller names no earlier deadline, in milliseconds; default 5000. */
  readonly timeoutMs?: number;
  /** How long a link that the map no longer names may finish what is in flight, in milliseconds; default 5000. */
  readonly drainMs?: number;
  /** How long `close` waits for leases, in milliseconds; default 30000. */
  readonly closeMs?: number;
  readonly pool?: BufferPool;
  readonly limits?: Partial<TransportLimits>;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly metrics?: LookupMetrics;
}

type LookupOptions = Parameters<RowSource["lookup"]>[1] & object;

/**
 * When a timeout is noticed so much too late, this process stood still (stopped, swapped out, moved to another machine),
 * and whoever was asked is not to blame.
 */
const STOOD_STILL_MS = 500;

/** How often the division of the cache over tables is looked at, and after how many ids at least. */
const LEVEL_EVERY_MS = 60_000;
const LEVEL_ACCESSES_MIN = 10_000;

/** How often proofs are looked at while a version becomes ready. */
const READY_POLL_MS = 50;

/** Rows that a committed delta changed, per table index, as int64 ids. */
export type ChangedRows = ReadonlyMap<number, BigInt64Array>;

/** Occupation of the cache, for gauges. */
export interface CacheUse {
  readonly capacityRows: number;
  readonly rows: number;
  readonly evictionCount: number;
}

/**
 * Rows of one model version, fetched from shards and cached.
 *
 * A lookup claims slots for all its ids in one turn: hits cost no copy, a row that another batch is fetching is waited
 * for, the rest is fetched with one frame per shard. Slots stay pinned until the lease is released. Where the slab has no
 * room for a batch, that table's rows go into a buffer of their own. Nothing is ever made up: a row that cannot be had
 * fails the lookup.
 */
export class ShardRows implements RowSource {
  readonly tables: readonly TableInfo[];
  readonly #options: ShardRowsOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #metrics: LookupMetrics;
  readonly #pool: BufferPool;
  /** By table; one is replaced when its part of the cache changes. */
  readonly #states: TableState[];
  /** Takes over rows of the one that it will replace; what is forgotten meanwhile, it forgets as well. */
  #filling: TableState | undefined;
  /** Of all slabs and what the cache keeps of their rows. */
  readonly #cacheBytes: number;
  /** Per table, when the cache was last looked at: accesses, and rows. */
  #levelledAt: { readonly accesses: number; readonly size: number }[] = [];
  readonly #board = new FillBoard();
  readonly #epochs = new EpochHistory();
  readonly #redis: RedisRows | undefined;
  readonly #links = new Map<string, ShardLink>();
  readonly #context: FetchContext;
  readonly #name: string;
  #routes: Routes | undefined;
  /** Counts the epochs that the cache went through, back ones too. */
  #cacheEra = 0;
  #lastBatch = 0;
  #openLeases = 0;
  #isClosed = false;
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;
  #cancelLevel: () => void = () => undefined;

  /** Loads ONNX Runtime unless that has happened: slabs are tensors. */
  constructor(options: ShardRowsOptions) {
    loadOrt();
    this.#options = options;
    this.tables = options.tables;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom();
    this.#logger = options.logger ?? silentLogger;
    this.#metrics = options.metrics ?? new LookupMetrics();
    this.#pool = options.pool ?? new BufferPool();
    const { model, version } = options.expectation;
    this.#name = `${model}/${version}`;
    const sizes = options.tables.map((table) => ({ rows: table.rows, slabRowBytes: slabRowBytes(table) }));
    const capacities = divideCache(sizes, options.cacheBytes);
    this.#cacheBytes = sizes.reduce(
      (sum, { slabRowBytes: bytes }, i) => sum + (capacities[i] ?? 0) * slotBytesOf(bytes),
      0,
    );
    this.#states = options.tables.map((table, i) => new TableState(i, table, capacities[i] as number));
    this.#redis = options.redis && new RedisRows(options.redis, options.expectation);
    this.#context = {
      routes: () => this.#routes as Routes,
      clock: this.#clock,
      random: this.#random,
      hedging: new Hedging({ budgetShare: options.hedgeShare ?? 0.05 }),
      metrics: this.#metrics,
      servable: this.#name,
      zone: options.zone ?? "",
      pool: this.#pool,
      redis: this.#redis,
      redisFor: options.redisFor ?? "misses",
    };
    this.#levelLater();
  }

  /** The partition map in use; undefined before the first `setMap`. */
  get map(): PartitionMap | undefined {
    return this.#routes?.map;
  }

  get cacheUse(): CacheUse {
    const use = { capacityRows: 0, rows: 0, evictionCount: 0 };
    for (const { slab } of this.#states) {
      use.capacityRows += slab?.cache.capacity ?? 0;
      use.rows += slab?.cache.size ?? 0;
      use.evictionCount += slab?.cache.evictionCount ?? 0;
    }
    return use;
  }

  /**
   * What a table is asked for most now, to fill another cache with; at most nine tenths of what its slab holds, none of a table
   * that is not cached.
   */
  async hottest(table: string): Promise<BigInt64Array> {
    const slab = this.#states.find(({ info }) => info.checkpointKey === table)?.slab;
    return slab ? slab.cache.hottest(Math.floor(slab.cache.capacity * 0.9)) : new BigInt64Array(0);
  }

  /**
   * Moves memory of the cache between tables, one bounded step towards where it turns most misses into hits. Lookups go on
   * meanwhile, and find a table's rows in its old slab or in its new one.
   *
   * @returns whether anything was moved
   */
  async levelCache(): Promise<boolean> {
    const parts = await this.#cacheParts();
    const usedBytes = this.#states.reduce(
      (sum, { slab, slabRowBytes }) => sum + (slab?.cache.capacity ?? 0) * slotBytesOf(slabRowBytes),
      0,
    );
    const slots = shiftShares(parts, Math.max(0, this.#cacheBytes - usedBytes));
    if (!slots) return false;
    const growth = (table: number) => (slots[table] as number) - (parts[table] as CachePart).slots;
    const changed = slots.flatMap((_, table) => (growth(table) === 0 ? [] : [table]));
    // those that give first: only one table's slab is there twice at a time
    for (const table of changed.sort((a, b) => growth(a) - growth(b))) {
      const before = this.#states[table] as TableState;
      const next = new TableState(table, before.info, slots[table] as number);
      this.#filling = next;
      await next.adopt(before).finally(() => (this.#filling = undefined));
      if (this.#isClosed) {
        next[Symbol.dispose]();
        return false;
      }
      this.#states[table] = next;
      before.retire();
    }
    this.#metrics.cacheShifts.inc({ model: this.#options.expectation.model }, changed.length);
    return true;
  }

  /**
   * What each table's part is worth; nothing before there were enough lookups to tell. One that still fills takes no part:
   * what it needs is not known.
   */
  async #cacheParts(): Promise<CachePart[]> {
    const parts: CachePart[] = [];
    const seen: { accesses: number; size: number }[] = [];
    let total = 0;
    for (const { info, slab, slabRowBytes } of this.#states) {
      const { accessCount: accesses = 0, size = 0, capacity = 0 } = slab?.cache ?? {};
      const before = this.#levelledAt[parts.length];
      const isFilling = before === undefined || (size < capacity && size > 1.01 * before.size);
      seen.push({ accesses, size });
      // a slab that was replaced counts from 0 again
      const since = before && before.accesses <= accesses ? accesses - before.accesses : accesses;
      total += since;
      parts.push({
        slots: isFilling ? 0 : capacity,
        unusedSlots: capacity - size,
        slotsMax: slotsMaxOf({ rows: info.rows, slabRowBytes }),
        slotBytes: slotBytesOf(slabRowBytes),
        marginalHits: isFilling || !slab ? 0 : since * (await slab.cache.marginalShare()),
      });
    }
    if (total < LEVEL_ACCESSES_MIN) return [];
    this.#levelledAt = seen;
    return parts;
  }

  #levelLater(): void {
    this.#cancelLevel = this.#clock.after(LEVEL_EVERY_MS, () => {
      void this.levelCache()
        .catch((error: unknown) => {
          const fields = { servable: this.#name, error: ServingError.from(error).message };
          this.#logger.error(fields, "the cache keeps its division: it could not be changed");
        })
        .finally(() => {
          if (!this.#isClosed) this.#levelLater();
        });
    });
  }

  /**
   * Swaps the partition map as a whole. Links to shards that it names no more are drained; lookups in flight go on, at the
   * epoch that they began at: rows that changed leave the cache, those on their way into it included.
   *
   * @param changed  where the epoch moved on: the rows that the delta changed; absent = any row may have changed
   */
  setMap(map: PartitionMap, changed?: ChangedRows): void {
    const { partitionCount, expectation } = this.#options;
    invariant(!this.#isClosed, () => `${this.#name}: the row source is closed`);
    invariant(
      map.partitionCount === partitionCount && map.model === expectation.model && map.version === expectation.version,
      `a map of ${map.model}/${map.version} with ${map.partitionCount} partitions for ${this.#name} with ${partitionCount}`,
    );
    const links = map.shards.map((shard) => this.#link(shard));
    const previous = this.#routes;
    this.#routes = { map, links };
    if (previous && previous.map.epoch !== map.epoch) {
      this.#epochs.superseded(previous.map.epoch, this.#clock.nowMs());
      this.#forget(changed);
    }
    for (const [shard, link] of this.#links) {
      if (links.includes(link)) continue;
      this.#links.delete(shard);
      void link.close(this.#options.drainMs ?? 5_000);
    }
    this.#refreshLacking();
  }

  /**
   * Waits until every partition has a replica that proved it.
   *
   * @throws ServingError UNAVAILABLE naming a partition and why, when the deadline passes first; the signal's reason
   */
  async whenReady(options: { readonly signal?: CancelSignal; readonly deadlineMs: number }): Promise<void> {
    for (;;) {
      const gap = this.#findGap();
      if (gap === undefined) return;
      if (this.#clock.nowMs() >= options.deadlineMs) {
        throw new ServingError("UNAVAILABLE", `${this.#name} is not ready: ${gap}`);
      }
      options.signal?.throwIfAborted();
      this.#refreshLacking();
      await new Promise<void>((resolve) => this.#clock.after(READY_POLL_MS, resolve));
    }
  }

  /**
   * Rows of several tables under one epoch.
   *
   * @throws ServingError ROW_OUT_OF_RANGE before anything is sent, details {table, request, position, id, rows}; UNAVAILABLE,
   * DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED; the signal's reason
   */
  lookup(requests: readonly RowRequest[], options: LookupOptions = {}): Promise<ReportedLease> {
    return this.#lookupAt(requests, options, this.#routes?.map.epoch ?? 0, this.tables);
  }

  /**
   * The same rows pinned to one epoch: every lookup through it, however late, is answered at that epoch or fails. Once the map
   * has moved on such lookups pass the cache by. Closing it does nothing.
   *
   * @param tables  as they are at that epoch
   * @param digest  of the delta that leads to it; "" at epoch 0. Rows in Redis are known by it
   */
  at(epoch: number, tables: readonly TableInfo[], digest: string): RowSource {
    this.#redis?.nameEpoch(epoch, digest);
    return {
      tables,
      lookup: (requests, options = {}) => this.#lookupAt(requests, options, epoch, tables),
      close: () => Promise.resolve(),
    };
  }

  async #lookupAt(
    requests: readonly RowRequest[],
    options: LookupOptions,
    epoch: number,
    tables: readonly TableInfo[],
  ): Promise<ReportedLease> {
    const startMs = this.#clock.nowMs();
    const { model } = this.#options.expectation;
    try {
      if (this.#isClosed) throw new ServingError("UNAVAILABLE", `${this.#name}: the version is being unloaded`);
      if (!this.#routes) throw new ServingError("UNAVAILABLE", `${this.#name}: no partition map is known yet`);
      this.#checkIds(requests, tables);
      const trace = options.isExplained ? new LookupTrace(startMs) : undefined;
      const lease = await this.#lookupInTime(requests, epoch, options, trace);
      this.#metrics.requests.inc({ model, code: "OK" });
      return lease;
    } catch (error) {
      this.#metrics.requests.inc({ model, code: ServingError.from(error).code });
      throw error;
    } finally {
      this.#metrics.seconds.observe({ model }, (this.#clock.nowMs() - startMs) / 1000);
    }
  }

  /** Within the timeout; once more when this process stood still over its end, and the caller's deadline allows it. */
  async #lookupInTime(
    requests: readonly RowRequest[],
    epoch: number,
    { signal, deadlineMs: latestMs = Number.POSITIVE_INFINITY }: LookupOptions,
    trace: LookupTrace | undefined,
  ): Promise<ReportedLease> {
    for (;;) {
      const timeoutMs = this.#clock.nowMs() + (this.#options.timeoutMs ?? 5_000);
      const deadlineMs = Math.min(latestMs, timeoutMs);
      try {
        return await this.#lookup(requests, epoch, { deadlineMs, signal, trace });
      } catch (error) {
        const nowMs = this.#clock.nowMs();
        const stoodStill = nowMs - deadlineMs >= STOOD_STILL_MS && nowMs < latestMs;
        if (!stoodStill || ServingError.from(error).code !== "DEADLINE_EXCEEDED") throw error;
      }
    }
  }

  /**
   * Closes links, waits for open leases and frees slabs. Leases that stay open longer than `closeMs` are logged and keep
   * the slabs: they are freed with the last of them, as a run may still read them.
   */
  close(): Promise<void> {
    this.#isClosed = true;
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#cancelLevel();
    this.#redis?.close();
    await Promise.all([...this.#links.values()].map((link) => link.close(0)));
    if (this.#openLeases === 0) return this.#freeSlabs();
    const closeMs = this.#options.closeMs ?? 30_000;
    await new Promise<void>((resolve) => {
      const cancelTimer = this.#clock.after(closeMs, () => {
        const { model, version } = this.#options.expectation;
        const fields = { model, version, leases: this.#openLeases, closeMs };
        this.#logger.error(fields, "row leases were not released; their memory is kept");
        resolve();
      });
      this.#onIdle = () => {
        cancelTimer();
        this.#freeSlabs();
        resolve();
      };
    });
  }

  #freeSlabs(): void {
    for (const state of this.#states) state.retire();
  }

  async #lookup(requests: readonly RowRequest[], epoch: number, options: FetchOptions): Promise<ReportedLease> {
    this.#openLeases++;
    let batch: LookupBatch | undefined;
    let uncached: ReadonlySet<number> | undefined;
    try {
      for (;;) {
        const claimed = this.#newBatch(requests, epoch, options, uncached);
        batch = claimed;
        let others: Promise<boolean> | undefined;
        if (claimed.idCount <= IDS_PER_TURN || !claimed.isShared) others = this.#claimAtOnce(claimed);
        else {
          const result = await this.#claimInTurns(claimed, options);
          if ("takenBack" in result) {
            if (result.takenBack === "no room") uncached = new Set([...(uncached ?? []), claimed.noRoom]);
            claimed.release();
            continue;
          }
          others = result.others;
        }
        options.trace?.begin(claimed);
        if (await this.#complete(claimed, others, options)) return this.#lease(claimed, requests, options);
        claimed.release();
        this.#checkTime(options);
      }
    } catch (error) {
      batch?.release();
      this.#leaseEnded();
      const degrade = options.degrade ? undefined : this.#degradeFor(error, epoch);
      if (degrade) return this.#lookup(requests, epoch, { ...options, degrade });
      throw error;
    }
  }

  #newBatch(
    requests: readonly RowRequest[],
    epoch: number,
    { degrade }: FetchOptions,
    uncached: ReadonlySet<number> | undefined,
  ): LookupBatch {
    const cacheEra = this.#routes?.map.epoch === epoch ? this.#cacheEra : -1;
    const options = { epoch, cacheEra, isDetached: degrade !== undefined, ...(uncached && { uncached }) };
    return new LookupBatch(this.#nextBatch(), this.#states, requests, options);
  }

  /** @returns resolves when the rows that others fetch are there; undefined when it needs none of them */
  #claimAtOnce(batch: LookupBatch): Promise<boolean> | undefined {
    batch.claim();
    if (batch.missCount > 0) this.#board.begin(batch.id);
    const waits = batch.takeWaits();
    return waits.size > 0 ? this.#board.whenAllFilled(waits) : undefined;
  }

  #claimInTurns(batch: LookupBatch, options: FetchOptions): Promise<Claimed> {
    const era = this.#cacheEra;
    return claimInTurns(
      batch,
      this.#board,
      () => this.#cacheEra === era,
      () => {
        options.signal?.throwIfAborted();
        this.#checkTime(options);
      },
    );
  }

  #checkTime({ deadlineMs }: FetchOptions): void {
    if (this.#clock.nowMs() < deadlineMs) return;
    throw new ServingError("DEADLINE_EXCEEDED", `rows of ${this.#name} were not fetched in time`);
  }

  /** What may stand in for rows where a lookup failed for want of them. */
  #degradeFor(error: unknown, epoch: number): FetchOptions["degrade"] {
    const { degraded } = this.#options;
    if (!degraded || this.#isClosed || ServingError.from(error).code !== "UNAVAILABLE") return undefined;
    const { staleMaxAgeMs, allowDefault } = degraded;
    const past = this.#epochs.within(staleMaxAgeMs, this.#clock.nowMs());
    return { staleEpochs: past.filter((older) => older < epoch), allowDefault }; // a later one was taken back
  }

  /** @returns false when another batch let this one down: claim again */
  async #complete(batch: LookupBatch, others: Promise<boolean> | undefined, options: FetchOptions): Promise<boolean> {
    if (batch.missCount > 0) await this.#fill(batch, options);
    else this.#board.end(batch.id, true);
    return others === undefined || this.#untilDeadline(others, options);
  }

  async #fill(batch: LookupBatch, options: FetchOptions): Promise<void> {
    let isFilled = false;
    try {
      await fetchMisses(batch, this.#context, options);
      isFilled = true;
    } finally {
      if (!isFilled) batch.abandon();
      this.#board.end(batch.id, isFilled);
    }
  }

  async #untilDeadline(others: Promise<boolean>, { signal, deadlineMs }: FetchOptions): Promise<boolean> {
    let stop: () => void = () => undefined;
    const limit = new Promise<never>((_, reject) => {
      const expire = () =>
        reject(new ServingError("DEADLINE_EXCEEDED", `rows of ${this.#name} were not fetched in time`));
      const cancelTimer = this.#clock.after(deadlineMs - this.#clock.nowMs(), expire);
      const onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      stop = () => {
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
      };
    });
    try {
      return await Promise.race([others, limit]);
    } finally {
      stop();
    }
  }

  #lease(batch: LookupBatch, requests: readonly RowRequest[], { degrade, trace }: FetchOptions): ReportedLease {
    const { degraded, expectation } = this.#options;
    const { model } = expectation;
    const report = this.#report(batch);
    if (degrade && degraded) {
      const idCount = batch.parts.reduce((sum, { slots }) => sum + slots.length, 0);
      checkDegraded(report, idCount, degraded, this.#name);
    } else
      for (const { compact, table } of batch.parts) if (compact && table.slab) this.#metrics.compact.inc({ model });
    let isOpen = true;
    return {
      batches: batch.parts.map(({ table, slots, compact }) => {
        const rows = compact?.rows ?? table.slab?.rows;
        invariant(rows, "a part has a slab or a buffer of its own");
        return { rows, slots };
      }),
      report,
      ...(trace && { explanation: trace.explain(batch, requests) }),
      release: () => {
        if (!isOpen) return;
        isOpen = false;
        batch.release();
        this.#leaseEnded();
      },
    };
  }

  #report(batch: LookupBatch): RowReport {
    const { model } = this.#options.expectation;
    const report = emptyRowReport(this.tables, batch.epoch);
    let found = 0;
    let fetched = 0;
    const from = { redis: 0, stale: 0, default: 0 };
    batch.parts.forEach(({ table, slots, cachedCount, foundCount, missStart, missEnd }, section) => {
      const { index } = table;
      let shardIds = slots.length - cachedCount;
      let shardRows = missEnd - missStart;
      for (const [origin, counts] of [
        ["redis", report.redisRows],
        ["stale", report.staleRows],
        ["default", report.defaultRows],
      ] as const) {
        const { ids, rows } = batch.countFrom(origin, section);
        counts[index] = (counts[index] as number) + ids;
        from[origin] += rows;
        shardIds -= ids;
        shardRows -= rows;
      }
      report.cacheRows[index] = (report.cacheRows[index] as number) + cachedCount;
      report.shardRows[index] = (report.shardRows[index] as number) + shardIds;
      found += foundCount;
      fetched += shardRows;
    });
    for (const [source, rows] of Object.entries(from)) if (rows > 0) this.#metrics.rows.inc({ model, source }, rows);
    this.#metrics.rows.inc({ model, source: "cache" }, found);
    this.#metrics.rows.inc({ model, source: "shard" }, fetched);
    return report;
  }

  #checkIds(requests: readonly RowRequest[], tables: readonly TableInfo[]): void {
    requests.forEach(({ table, ids }, request) => {
      const info = tables[table];
      if (!info) throw new ServingError("TABLE_NOT_FOUND", `${this.#name} has no table ${table}`);
      const lanes = idLanes(ids);
      const position = findOutOfRange(lanes, info.rows);
      if (position < 0) return;
      const { code, message, details } = rowOutOfRange(info, position, idAt(lanes, position));
      throw new ServingError(code, message, { details: { ...details, request } });
    });
  }

  #nextBatch(): number {
    if (this.#lastBatch === 2 ** 31 - 1) {
      this.#lastBatch = 0;
      for (const { slab } of this.#states) slab?.cache.forgetStamps();
    }
    return ++this.#lastBatch;
  }

  #leaseEnded(): void {
    this.#openLeases--;
    if (this.#openLeases === 0) this.#onIdle?.();
  }

  #forget(changed: ChangedRows | undefined): void {
    this.#cacheEra++;
    for (const { index, slab } of this.#filling ? [...this.#states, this.#filling] : this.#states) {
      if (!changed) slab?.cache.expireBefore(this.#cacheEra);
      const ids = changed?.get(index);
      if (ids) slab?.cache.invalidate(idLanes(ids).lanes, ids.length);
    }
  }

  #link(shard: string): ShardLink {
    const known = this.#links.get(shard);
    if (known) return known;
    const { directory, machine, peer, expectation, partitionCount, limits } = this.#options;
    const link = new ShardLink({
      shard,
      directory,
      machine,
      peer,
      expectation,
      partitionCount,
      limits,
      pool: this.#pool,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger.child({ shard, servable: this.#name }),
    });
    this.#links.set(shard, link);
    void link.start();
    return link;
  }

  /** Asks connected shards that the map gives more than they proved for a new proof. */
  #refreshLacking(): void {
    if (!this.#routes) return;
    const { map, links } = this.#routes;
    const isLacking = links.map(() => false);
    for (let i = 0; i < map.replicas.length; i++) {
      const index = map.replicas[i] as number;
      if (!links[index]?.holds(Math.floor(i / map.replication))) isLacking[index] = true;
    }
    links.forEach((link, i) => {
      if (isLacking[i]) void link.refresh();
    });
  }

  #findGap(): string | undefined {
    if (this.tables.length === 0) return undefined; // nothing to hold, nothing to prove
    if (!this.#routes) return "no partition map is known yet";
    const { map, links } = this.#routes;
    for (let partition = 0; partition < map.partitionCount; partition++) {
      const start = partition * map.replication;
      const replicas = [...map.replicas.subarray(start, start + map.replication)].map((i) => links[i]);
      if (replicas.some((link) => link?.holds(partition))) continue;
      const why = replicas.map((link) => `${link?.shard}: ${link?.lastError?.message ?? "not proved"}`).join("; ");
      return `partition ${partition} has no replica that proved it (${why})`;
    }
    return undefined;
  }
}
