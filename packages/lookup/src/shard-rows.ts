import {
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
  type LookupOptions,
  type ReportedLease,
  type RowRequest,
  type RowSource,
  rowOutOfRange,
  type TableInfo,
} from "@shardserve/rowstore";
import { BufferPool } from "@shardserve/transport";
import type { LookupBatch } from "./batch/batch.js";
import { BatchFiller } from "./batch/batch-filler.js";
import { type WantedIds, wantedIds } from "./batch/batch-part.js";
import { checkDegraded, EpochHistory } from "./fetch/degraded.js";
import type { FetchContext, FetchOptions } from "./fetch/fetch-context.js";
import type { Routes } from "./fetch/frame-plan.js";
import { Hedging } from "./replicas/hedging.js";
import { findOutOfRange, idAt } from "./batch/id-lanes.js";
import { LookupTrace } from "./report/lookup-trace.js";
import { LookupMetrics } from "./metrics.js";
import { RedisRows } from "./redis/redis-rows.js";
import { reportRows, ROW_SOURCES } from "./report/row-report.js";
import { type ReadyOptions, ShardLinks } from "./replicas/shard-links.js";
import type { ShardRowsOptions } from "./shard-rows-options.js";
import { type CacheUse, type ChangedRows, TableStates } from "./cache/table-states.js";

/**
 * When a timeout is noticed so much too late, this process stood still (stopped, swapped out, moved to another machine),
 * and whoever was asked is not to blame.
 */
const STOOD_STILL_MS = 500;

/** How often the division of the cache over tables is looked at. */
const LEVEL_EVERY_MS = 60_000;

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
  readonly #states: TableStates;
  readonly #links: ShardLinks;
  readonly #epochs = new EpochHistory();
  readonly #redis: RedisRows | undefined;
  readonly #filler: BatchFiller;
  readonly #name: string;
  /** Counts the epochs that the cache went through, back ones too. */
  #cacheEra = 0;
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
    this.#states = new TableStates(options.tables, options.cacheBytes, (tables) =>
      this.#metrics.cacheShifts.inc({ model }, tables),
    );
    const { directory, machine, peer, expectation, partitionCount, limits, drainMs = 5_000 } = options;
    this.#links = new ShardLinks({
      servable: this.#name,
      directory,
      machine,
      peer,
      expectation,
      partitionCount,
      limits,
      drainMs,
      pool: this.#pool,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
    });
    this.#redis = options.redis && new RedisRows(options.redis, expectation);
    const context: FetchContext = {
      routes: () => this.#links.routes as Routes,
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
    this.#filler = new BatchFiller(this.#states, context, (epoch) => (this.map?.epoch === epoch ? this.#cacheEra : -1));
    this.#levelLater();
  }

  /** The partition map in use; undefined before the first `setMap`. */
  get map(): PartitionMap | undefined {
    return this.#links.routes?.map;
  }

  get cacheUse(): CacheUse {
    return this.#states.use;
  }

  /**
   * What a table is asked for most now, to fill another cache with; at most nine tenths of what its slab holds, none of a table
   * that is not cached.
   */
  async hottest(table: string): Promise<BigInt64Array> {
    const slab = this.#states.all.find(({ info }) => info.checkpointKey === table)?.slab;
    return slab ? slab.cache.hottest(Math.floor(slab.cache.capacity * 0.9)) : new BigInt64Array(0);
  }

  /** As {@link TableStates.level}; happens every minute by itself. */
  levelCache(): Promise<boolean> {
    return this.#states.level();
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
    const previous = this.map;
    this.#links.setMap(map);
    if (!previous || previous.epoch === map.epoch) return;
    this.#epochs.superseded(previous.epoch, this.#clock.nowMs());
    this.#states.forget(changed, ++this.#cacheEra);
  }

  /** Waits until every partition has a replica that proved it. Errors as {@link ShardLinks.whenReady}. */
  async whenReady(options: ReadyOptions): Promise<void> {
    if (this.tables.length > 0) await this.#links.whenReady(options); // of nothing, nothing has to be proved
  }

  /**
   * Rows of several tables under one epoch.
   *
   * @throws ServingError ROW_OUT_OF_RANGE before anything is sent, details {table, request, position, id, rows}; UNAVAILABLE,
   * DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED; the signal's reason
   */
  lookup(requests: readonly RowRequest[], options: LookupOptions = {}): Promise<ReportedLease> {
    return this.#lookupAt(requests, options, this.tables);
  }

  /** Tells which delta leads to an epoch: rows in Redis are known by it. @param digest  of the delta; "" at epoch 0 */
  nameEpoch(epoch: number, digest: string): void {
    this.#redis?.nameEpoch(epoch, digest);
  }

  /**
   * The same rows for a graph that was made for tables as they are at some epochs. A lookup that names its epoch is answered at
   * that one, however late it comes, or fails; once the map has moved on it passes the cache by. Closing it does nothing.
   */
  withTables(tables: readonly TableInfo[]): RowSource {
    return {
      tables,
      lookup: (requests, options = {}) => this.#lookupAt(requests, options, tables),
      close: () => Promise.resolve(),
    };
  }

  /**
   * Closes links, waits for open leases and frees slabs. Leases that stay open longer than `closeMs` are logged and keep
   * the slabs: they are freed with the last of them, as a run may still read them.
   */
  close(): Promise<void> {
    this.#isClosed = true;
    return (this.#closing ??= this.#close());
  }

  async #lookupAt(
    requests: readonly RowRequest[],
    options: LookupOptions,
    tables: readonly TableInfo[],
  ): Promise<ReportedLease> {
    const startMs = this.#clock.nowMs();
    const epoch = options.epoch ?? this.map?.epoch ?? 0;
    const { model } = this.#options.expectation;
    try {
      if (this.#isClosed) throw new ServingError("UNAVAILABLE", `${this.#name}: the version is being unloaded`);
      if (!this.#links.routes) throw new ServingError("UNAVAILABLE", `${this.#name}: no partition map is known yet`);
      const wanted = this.#wantedIds(requests, tables);
      const trace = options.isExplained ? new LookupTrace(startMs) : undefined;
      const lease = await this.#lookupInTime(wanted, epoch, options, trace);
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
    wanted: readonly WantedIds[],
    epoch: number,
    { signal, traceParent, deadlineMs: latestMs = Number.POSITIVE_INFINITY }: LookupOptions,
    trace: LookupTrace | undefined,
  ): Promise<ReportedLease> {
    for (;;) {
      const timeoutMs = this.#clock.nowMs() + (this.#options.timeoutMs ?? 5_000);
      const deadlineMs = Math.min(latestMs, timeoutMs);
      try {
        return await this.#lookup(wanted, epoch, { deadlineMs, signal, traceParent, trace });
      } catch (error) {
        const nowMs = this.#clock.nowMs();
        const stoodStill = nowMs - deadlineMs >= STOOD_STILL_MS && nowMs < latestMs;
        if (!stoodStill || ServingError.from(error).code !== "DEADLINE_EXCEEDED") throw error;
      }
    }
  }

  async #close(): Promise<void> {
    this.#cancelLevel();
    this.#redis?.close();
    await this.#links.close();
    if (this.#openLeases === 0) return this.#states.close();
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
        this.#states.close();
        resolve();
      };
    });
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

  async #lookup(wanted: readonly WantedIds[], epoch: number, options: FetchOptions): Promise<ReportedLease> {
    this.#openLeases++;
    let batch: LookupBatch | undefined;
    try {
      batch = await this.#filler.fill(wanted, epoch, options);
      return this.#lease(batch, options);
    } catch (error) {
      batch?.release();
      this.#leaseEnded();
      const degrade = options.degrade ? undefined : this.#degradeFor(error, epoch);
      if (degrade) return this.#lookup(wanted, epoch, { ...options, degrade });
      throw error;
    }
  }

  /** What may stand in for rows where a lookup failed for want of them. */
  #degradeFor(error: unknown, epoch: number): FetchOptions["degrade"] {
    const { degraded } = this.#options;
    if (!degraded || this.#isClosed || ServingError.from(error).code !== "UNAVAILABLE") return undefined;
    const { staleMaxAgeMs, allowDefault } = degraded;
    const past = this.#epochs.within(staleMaxAgeMs, this.#clock.nowMs());
    return { staleEpochs: past.filter((older) => older < epoch), allowDefault }; // a later one was taken back
  }

  #lease(batch: LookupBatch, { degrade, trace }: FetchOptions): ReportedLease {
    const { degraded, expectation } = this.#options;
    const { model } = expectation;
    const { report, rows: sources } = reportRows(batch, this.tables);
    for (const source of ROW_SOURCES)
      if (sources[source] > 0) this.#metrics.rows.inc({ model, source }, sources[source]);
    if (degrade && degraded) checkDegraded(report, batch.idCount, degraded, this.#name);
    else for (const { compact, state } of batch.parts) if (compact && state.slab) this.#metrics.compact.inc({ model });
    let isOpen = true;
    return {
      batches: batch.parts,
      report,
      ...(trace && { explanation: trace.explain(batch) }),
      release: () => {
        if (!isOpen) return;
        isOpen = false;
        batch.release();
        this.#leaseEnded();
      },
    };
  }

  /** Checks the ids and looks at them as lanes, once for all that is done with them. */
  #wantedIds(requests: readonly RowRequest[], tables: readonly TableInfo[]): WantedIds[] {
    return requests.map(({ table, ids }, request) => {
      const info = tables[table];
      if (!info) throw new ServingError("TABLE_NOT_FOUND", `${this.#name} has no table ${table}`);
      const wanted = wantedIds(table, ids);
      const position = findOutOfRange(wanted, info.rows);
      if (position < 0) return wanted;
      const { code, message, details } = rowOutOfRange(info, position, idAt(wanted, position));
      throw new ServingError(code, message, { details: { ...details, request } });
    });
  }

  #leaseEnded(): void {
    this.#openLeases--;
    if (this.#openLeases === 0) this.#onIdle?.();
  }
}
