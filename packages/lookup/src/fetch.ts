import { type CancelSignal, type Clock, type Random, ServingError } from "@shardserve/core";
import { type BufferPool, readRowsReply, type ReplyPayload } from "@shardserve/transport";
import type { LookupBatch } from "./batch.js";
import { expired, firstUnreachable, isFailure, isFault, isRetryable, whyUnroutable } from "./fetch-errors.js";
import { type FramePlan, type Plan, planFrames, type Routes } from "./frame-plan.js";
import { Hedging } from "./hedging.js";
import type { LookupTrace } from "./lookup-trace.js";
import type { LookupMetrics } from "./metrics.js";
import type { RedisRows } from "./redis/redis-rows.js";
import { ReplicaChoice } from "./replica-choice.js";
import { RowsDone, writeReply } from "./reply-rows.js";
import { sizeClass } from "./shard-health.js";
import type { ShardLink } from "./shard-link.js";

export interface FetchContext {
  /** The routes now; they may be swapped at any time. */
  readonly routes: () => Routes;
  readonly clock: Clock;
  readonly random: Random;
  readonly hedging: Hedging;
  readonly metrics: LookupMetrics;
  /** "ctr/3", for messages. */
  readonly servable: string;
  /** Our failure domain; "" = not known. */
  readonly zone: string;
  /** Memory of requests and replies. */
  readonly pool: BufferPool;
  readonly redis: RedisRows | undefined;
  readonly redisFor: RedisFor;
}

/** `misses`: before the shards, for every row that is not cached. `dark`: only for rows that no shard can give. */
export type RedisFor = "misses" | "dark";

export interface FetchOptions {
  readonly signal?: CancelSignal | undefined;
  /** On the clock's `nowMs` scale. */
  readonly deadlineMs: number;
  /** What stands in for rows that cannot be had; the batch is detached. Absent = nothing does. */
  readonly degrade?: { readonly staleEpochs: readonly number[]; readonly allowDefault: boolean };
  /** Takes down where rows come from; absent = nobody asked. */
  readonly trace?: LookupTrace | undefined;
}

/**
 * A frame that took this part of its time asks for no budget any more: while everybody waits for a shard that hangs, nobody
 * sends the frames that the budget grows by.
 */
const LAST_RESORT_SHARE = 0.5;

/** Longest pause before all replicas are tried again. */
const PAUSE_MAX_MS = 100;

/**
 * Fetches the rows that a batch misses: one frame per shard, all at once. What a shard could not give is asked of the
 * partition's other replicas; what it does not give in its usual time is asked of another one as well, and the first answer
 * counts. When no replica is left, all are asked again after a pause, until the deadline; when none is connected, it fails at once.
 *
 * @throws ServingError DEADLINE_EXCEEDED; UNAVAILABLE or RESOURCE_EXHAUSTED naming shard and cause; what no retry can mend;
 * the signal's reason. Nothing is written after it settled.
 */
export function fetchMisses(batch: LookupBatch, context: FetchContext, options: FetchOptions): Promise<void> {
  return new MissFetch(batch, context, options).run();
}

/** A frame that is on its way. */
interface Attempt {
  readonly frame: FramePlan;
  readonly startMs: number;
  /** Usual time of such a frame: after it the rows are asked of another replica as well. */
  readonly delayMs: number;
  /** The frame whose rows this one asks for once more. */
  readonly hedgeOf: Attempt | undefined;
  /** When it is looked at next: whether its rows should be asked of another replica. Infinity = never. */
  hedgeAtMs: number;
  /** Its rows came from elsewhere; the answer is awaited only for what it says of the shard. */
  isOvertaken: boolean;
  cancel: () => void;
}

class MissFetch {
  readonly #batch: LookupBatch;
  readonly #context: FetchContext;
  readonly #options: FetchOptions;
  readonly #done: RowsDone;
  /** Shards that failed this batch since all were tried last. */
  readonly #avoid = new Set<ShardLink>();
  readonly #attempts = new Set<Attempt>();
  /** Replies that are being written, and answers of Redis that are waited for. */
  #writing = 0;
  #isRedisAsked = false;
  /** Since when rows are wanted that no replica can be asked for now. */
  #neededSinceMs: number | undefined;
  #lastError: ServingError | undefined;
  #pauseMs = 5;
  #isSettled = false;
  #resolve: () => void = () => undefined;
  #reject: (reason: unknown) => void = () => undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(batch: LookupBatch, context: FetchContext, options: FetchOptions) {
    this.#batch = batch;
    this.#context = context;
    this.#options = options;
    this.#done = new RowsDone(batch.missCount, options.trace);
  }

  run(): Promise<void> {
    const { signal } = this.#options;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      if (signal?.aborted) return this.#settle(signal.reason);
      signal?.addEventListener("abort", this.#onAbort, { once: true });
      const all = ascending(this.#batch.missCount);
      if (this.#context.redis && this.#context.redisFor === "misses") this.#askRedis(this.#context.redis, all);
      else this.#guard(() => this.#next(all));
    });
  }

  #askRedis(redis: RedisRows, pending: Int32Array): void {
    this.#isRedisAsked = true;
    this.#writing++;
    void this.#readRedis(redis, pending, this.#batch.epoch).then(
      () => this.#guard(() => this.#afterWrite()),
      (error: unknown) => this.#settle(error),
    );
  }

  async #readRedis(redis: RedisRows, pending: Int32Array, epoch: number): Promise<void> {
    const { clock } = this.#context;
    const startMs = clock.nowMs();
    await redis.read(this.#batch, pending, this.#done, () => this.#isSettled, epoch);
    const durationMs = clock.nowMs() - startMs;
    this.#options.trace?.fetched({ from: "redis", rows: pending.length, durationMs, outcome: "ok" }, startMs);
  }

  readonly #onAbort = () => this.#settle(this.#options.signal?.reason);

  /** Ends it, well without a reason. What is still on its way is given up. */
  #settle(reason?: unknown): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#cancelTimer();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    for (const attempt of this.#attempts) {
      if (reason === undefined) this.#overtaken(attempt);
      else this.#giveUp(attempt);
    }
    if (reason === undefined) this.#resolve();
    else this.#reject(reason);
  }

  /** Runs a step; its error is the fetch's. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#settle(error);
    }
  }

  /** Asks for rows that nobody is being asked for. What cannot be asked waits for the frames under way, or for a pause. */
  #next(pending: Int32Array): void {
    if (pending.length === 0) return;
    const routes = this.#currentRoutes();
    const plan = this.#plan(routes, pending, this.#avoid, false);
    for (const frame of plan.frames) this.#send(frame, undefined);
    if (plan.frames.length > 0) return this.#armTimer();
    if (this.#attempts.size > 0 || this.#writing > 0) return; // their end brings us here again
    this.#tryLater(routes, pending);
  }

  #currentRoutes(): Routes {
    if (this.#options.deadlineMs > this.#context.clock.nowMs()) return this.#context.routes();
    throw this.#outOfTime();
  }

  /** The time is up; what failed before is why. That the epochs never met is the cause itself, and time only its end. */
  #outOfTime(): ServingError {
    return this.#lastError?.code === "EPOCH_MISMATCH"
      ? this.#lastError
      : expired(this.#context.servable, this.#lastError);
  }

  #plan(routes: Routes, pending: Int32Array, avoid: ReadonlySet<ShardLink>, isHedge: boolean): Plan {
    const { clock, random, zone, pool } = this.#context;
    const nowMs = clock.nowMs();
    const remainingMs = Math.max(1, Math.ceil(this.#options.deadlineMs - nowMs));
    const header = { generation: routes.map.generation, epoch: this.#batch.epoch, remainingMs };
    const choice = new ReplicaChoice(routes, { avoid, zone, isHedge, nowMs }, random);
    return planFrames(routes, this.#batch.misses, pending, choice, header, (bytes) => pool.acquire(bytes));
  }

  /** No replica can be asked now. */
  #tryLater(routes: Routes, pending: Int32Array): void {
    const { clock, random, redis } = this.#context;
    if (redis && !this.#isRedisAsked) return this.#askRedis(redis, pending);
    // all replicas are full, where more load does not help, or all fail at it
    const error = this.#lastError;
    if (error?.code === "RESOURCE_EXHAUSTED" || (error && isFailure(error))) throw error;
    const nowMs = clock.nowMs();
    const { misses } = this.#batch;
    const dark = firstUnreachable(routes, misses, pending, nowMs, (this.#neededSinceMs ??= nowMs));
    const why = whyUnroutable(routes, misses, dark < 0 ? (pending[0] as number) : dark, error);
    const isLate = nowMs + this.#pauseMs >= this.#options.deadlineMs;
    if (dark < 0 && isLate && error?.code === "EPOCH_MISMATCH") throw error;
    if (dark >= 0 || isLate || why.code === "DIGEST_MISMATCH") {
      if (why.code !== "UNAVAILABLE" || !this.#options.degrade) throw why;
      this.#writing++;
      void this.#degrade(pending, why).catch((reason: unknown) => this.#settle(reason));
      return;
    }
    for (const link of routes.links) {
      link.hurry();
      void link.refresh();
    }
    this.#cancelTimer();
    this.#cancelTimer = clock.after(this.#pauseMs * (0.5 + random.next()), () => {
      this.#avoid.clear();
      this.#guard(() => this.#next(pending));
    });
    this.#pauseMs = Math.min(PAUSE_MAX_MS, this.#pauseMs * 2);
  }

  /** Takes what may stand in for rows that cannot be had. */
  async #degrade(pending: Int32Array, why: ServingError): Promise<void> {
    const { staleEpochs = [], allowDefault = false } = this.#options.degrade ?? {};
    let rows = pending;
    const { redis } = this.#context;
    for (const epoch of redis ? staleEpochs : []) {
      if (redis) await this.#readRedis(redis, rows, epoch);
      rows = rows.filter((row) => !this.#done.has(row));
      if (rows.length === 0) break;
    }
    if (rows.length > 0 && !allowDefault) throw why;
    this.#fillDefaults(rows);
    this.#guard(() => this.#afterWrite());
  }

  #fillDefaults(rows: Int32Array): void {
    const { sections, slots } = this.#batch.misses;
    sections.forEach(({ start, end }, section) => {
      const own = rows.filter((row) => row >= start && row < end);
      if (own.length > 0)
        this.#batch.acceptDefaults(
          section,
          own.map((row) => slots[row] as number),
        );
    });
    this.#done.add(rows, 0, rows.length, { level: "default", epoch: this.#batch.epoch });
  }

  #send(frame: FramePlan, hedgeOf: Attempt | undefined): void {
    const { clock, hedging } = this.#context;
    const { link } = frame;
    const startMs = clock.nowMs();
    const { links, map } = this.#context.routes();
    const canHedge = hedging.isOn && map.replication > 1;
    const delayMs = hedging.delayMs(sizeClass(frame.rowBytes), links, startMs);
    const hedgeAtMs = canHedge ? startMs + delayMs : Number.POSITIVE_INFINITY;
    const attempt: Attempt = {
      frame,
      startMs,
      delayMs,
      hedgeOf,
      hedgeAtMs,
      isOvertaken: false,
      cancel: () => undefined,
    };
    this.#attempts.add(attempt);
    if (!hedgeOf) hedging.earn();
    link.rowsInFlight += frame.rowCount;
    const { deadlineMs } = this.#options;
    const cancel = link.ask(
      frame.payload,
      { deadlineMs },
      (reply) => this.#onReply(attempt, reply),
      // it may fail before the frames beside it are sent
      (error) => queueMicrotask(() => this.#onFail(attempt, ServingError.from(error))),
    );
    attempt.cancel = cancel;
  }

  /** It is no longer under way. @returns how long it was, in milliseconds */
  #ended(attempt: Attempt): number {
    const { clock, metrics } = this.#context;
    this.#attempts.delete(attempt);
    attempt.frame.link.rowsInFlight -= attempt.frame.rowCount;
    const latencyMs = clock.nowMs() - attempt.startMs;
    metrics.shardSeconds.observe(latencyMs / 1000);
    return latencyMs;
  }

  #onReply(attempt: Attempt, reply: ReplyPayload): void {
    const { frame } = attempt;
    const latencyMs = this.#ended(attempt);
    this.#judge(attempt, latencyMs);
    if (attempt.isOvertaken) {
      attempt.cancel();
      return reply.release();
    }
    this.#writing++;
    void this.#write(attempt, reply).then(
      () => this.#guard(() => this.#afterWrite()),
      (reason: unknown) => {
        this.#writing--;
        const error = ServingError.from(reason);
        if (isFault(error)) this.#fault(frame.link);
        this.#guard(() => this.#failed(attempt, error));
      },
    );
  }

  async #write(attempt: Attempt, reply: ReplyPayload): Promise<void> {
    const { frame, hedgeOf } = attempt;
    const leftBefore = this.#done.leftCount;
    let isTaken = false;
    try {
      const rows = readRowsReply(reply.bytes);
      const refusal = await writeReply(frame, rows, reply.bytes, this.#batch, this.#done, () => this.#isSettled);
      if (refusal) throw refusal;
      isTaken = this.#context.redis?.offer(frame, reply, rows, this.#batch) ?? false;
    } finally {
      if (!isTaken) reply.release();
    }
    this.#note(attempt, "ok");
    if (hedgeOf) this.#count(this.#done.leftCount < leftBefore ? "won" : "lost");
  }

  #afterWrite(): void {
    this.#writing--;
    if (this.#isSettled) return;
    if (this.#done.leftCount === 0) return this.#settle();
    if (this.#done.isContested) this.#dropOvertaken();
    if (this.#attempts.size === 0 && this.#writing === 0) this.#next(this.#uncovered());
  }

  #onFail(attempt: Attempt, error: ServingError): void {
    if (!this.#attempts.has(attempt) && !attempt.isOvertaken) return; // given up meanwhile
    this.#ended(attempt);
    const { link } = attempt.frame;
    if (isFault(error)) this.#fault(link);
    if (attempt.isOvertaken) return attempt.cancel();
    if (attempt.hedgeOf) this.#count("failed");
    this.#guard(() => this.#failed(attempt, error));
  }

  /** What a frame asked for must come from another replica. */
  #failed(attempt: Attempt, error: ServingError): void {
    const { frame, hedgeOf } = attempt;
    if (this.#isSettled) return;
    this.#note(attempt, error.code);
    if (error.code === "DEADLINE_EXCEEDED" && this.#lastError) throw this.#outOfTime();
    this.#lastError = error;
    if (!isRetryable(error) && !isFailure(error)) throw error;
    this.#context.metrics.retries.inc({ code: error.code });
    this.#avoid.add(frame.link);
    // the frame that was too slow may be tried once more: not with this shard
    if (hedgeOf && this.#attempts.has(hedgeOf)) hedgeOf.hedgeAtMs = this.#context.clock.nowMs();
    this.#next(this.#uncovered());
    this.#armTimer();
  }

  /** Rows that are neither there nor asked for, ascending. */
  #uncovered(): Int32Array {
    const isCovered = new Uint8Array(this.#batch.missCount);
    for (const { frame } of this.#attempts) for (const row of frame.rows) isCovered[row] = 1;
    const rows: number[] = [];
    for (let row = 0; row < isCovered.length; row++) if (isCovered[row] === 0 && !this.#done.has(row)) rows.push(row);
    return Int32Array.from(rows);
  }

  /** Wakes up when the next frame has taken longer than usual. */
  #armTimer(): void {
    const { clock, hedging } = this.#context;
    if (!hedging.isOn) return;
    let atMs = Number.POSITIVE_INFINITY;
    for (const attempt of this.#attempts) atMs = Math.min(atMs, attempt.hedgeAtMs);
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer();
    // After a busy turn timers come first: what has arrived meanwhile is read before anybody is called late.
    const wake = () => setImmediate(() => this.#guard(() => this.#hedge()));
    this.#cancelTimer = clock.after(Math.max(0, atMs - clock.nowMs()), wake);
  }

  #hedge(): void {
    if (this.#isSettled) return;
    const nowMs = this.#context.clock.nowMs();
    const routes = this.#context.routes();
    if (nowMs >= this.#options.deadlineMs) return; // those under way may still do
    for (const attempt of this.#attempts) if (attempt.hedgeAtMs <= nowMs) this.#hedgeOne(attempt, routes, nowMs);
    this.#armTimer();
  }

  /** Asks other replicas for what a frame did not bring in its usual time. */
  #hedgeOne(attempt: Attempt, routes: Routes, nowMs: number): void {
    const { hedging } = this.#context;
    const { link } = attempt.frame;
    attempt.hedgeAtMs = Number.POSITIVE_INFINITY;
    const avoid = new Set(this.#avoid);
    for (let tried: Attempt | undefined = attempt; tried; tried = tried.hedgeOf) avoid.add(tried.frame.link);
    const { frames } = this.#plan(routes, Int32Array.from(this.#done.missing(attempt.frame.rows)), avoid, true);
    if (frames.length === 0) return; // nobody else has them
    // a shard that is known to be ill is given up rather than hedged: that costs no budget
    const lastResortMs = attempt.startMs + LAST_RESORT_SHARE * (this.#options.deadlineMs - attempt.startMs);
    if (!link.health.circuit.isOpen && nowMs < lastResortMs && !hedging.spend(frames.length)) {
      this.#count("refused");
      attempt.hedgeAtMs = Math.min(nowMs + attempt.delayMs, lastResortMs);
      return;
    }
    this.#done.isContested = true;
    for (const frame of frames) this.#send(frame, attempt);
  }

  /** Gives up frames all of whose rows are there. */
  #dropOvertaken(): void {
    for (const attempt of this.#attempts) {
      if (attempt.frame.rows.every((row) => this.#done.has(row))) this.#overtaken(attempt);
    }
  }

  /**
   * Another replica was faster. The answer is awaited all the same, to learn what the shard's latency is, and dropped unread;
   * when it is overdue it is cancelled and speaks against the shard.
   */
  #overtaken(attempt: Attempt): void {
    this.#note(attempt, "overtaken");
    if (attempt.hedgeOf) {
      this.#count("lost");
      return this.#giveUp(attempt);
    }
    const { clock } = this.#context;
    this.#attempts.delete(attempt);
    attempt.isOvertaken = true;
    const overdueMs = Hedging.overdueMs(attempt.delayMs);
    const cancelRequest = attempt.cancel;
    const cancelTimer = clock.after(attempt.startMs + overdueMs - clock.nowMs(), () => {
      cancelRequest();
      this.#judge(attempt, this.#ended(attempt));
    });
    attempt.cancel = cancelTimer; // by whoever learns of its end
  }

  #giveUp(attempt: Attempt): void {
    attempt.cancel();
    this.#attempts.delete(attempt);
    attempt.frame.link.rowsInFlight -= attempt.frame.rowCount;
  }

  /** What an answer's latency says of its shard. */
  #judge({ frame, delayMs }: Attempt, latencyMs: number): void {
    const { health } = frame.link;
    health.observe(latencyMs, frame.rowBytes, this.#context.clock.nowMs());
    if (latencyMs >= Hedging.overdueMs(delayMs)) this.#fault(frame.link);
    else health.circuit.succeeded();
  }

  #fault(link: ShardLink): void {
    if (!link.health.circuit.failed(this.#context.clock.nowMs())) return;
    this.#context.metrics.circuits.inc({ shard: link.shard });
  }

  /** What became of a frame, for who wants it explained. */
  #note({ frame, startMs, hedgeOf }: Attempt, outcome: string): void {
    const { trace } = this.#options;
    if (!trace) return;
    const durationMs = this.#context.clock.nowMs() - startMs;
    const { shard } = frame.link;
    const isHedge = hedgeOf !== undefined;
    trace.fetched({ from: "shard", shard, rows: frame.rowCount, durationMs, isHedge, outcome }, startMs);
  }

  #count(outcome: "won" | "lost" | "failed" | "refused"): void {
    this.#context.metrics.hedges.inc({ outcome });
  }
}

/** 0, 1 ... count - 1. */
function ascending(count: number): Int32Array {
  const rows = new Int32Array(count);
  for (let i = 0; i < count; i++) rows[i] = i;
  return rows;
}
