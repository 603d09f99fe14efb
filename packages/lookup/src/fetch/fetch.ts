import { ServingError } from "@shardserve/core";
import { readRowsReply, type ReplyPayload } from "@shardserve/transport";
import { type Attempt, Attempts } from "./attempts.js";
import type { LookupBatch } from "../batch/batch.js";
import type { FetchContext, FetchOptions } from "./fetch-context.js";
import { expired, firstUnreachable, isFailure, isFault, isRetryable, whyUnroutable } from "./fetch-errors.js";
import { type Plan, planFrames, type Routes } from "./frame-plan.js";
import type { RedisRows } from "../redis/redis-rows.js";
import { ReplicaChoice } from "../replicas/replica-choice.js";
import { RowsDone, writeReply } from "./reply-rows.js";
import type { ShardLink } from "../replicas/shard-link.js";

/**
 * A frame that took this part of its time asks for no budget any more: while everybody waits for a shard that hangs, nobody
 * sends the frames that the budget grows by.
 */
const LAST_RESORT_SHARE = 0.5;
/** Until it is seen again whether another replica has what a late frame asks for: one may come back meanwhile. */
const LOOK_AGAIN_MS = 100;

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

class MissFetch {
  readonly #batch: LookupBatch;
  readonly #context: FetchContext;
  readonly #options: FetchOptions;
  readonly #done: RowsDone;
  /** Shards that failed this batch since all were tried last. */
  readonly #avoid = new Set<ShardLink>();
  readonly #attempts: Attempts;
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
    this.#attempts = new Attempts(context, options, {
      onReply: (attempt, reply) => this.#onReply(attempt, reply),
      onFail: (attempt, reason) => this.#onFail(attempt, ServingError.from(reason)),
    });
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
      if (reason === undefined) this.#attempts.overtaken(attempt);
      else this.#attempts.giveUp(attempt);
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
    for (const frame of plan.frames) this.#attempts.send(frame, undefined);
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
    const { traceParent: trace } = this.#options;
    if (trace) trace.sentMs ??= nowMs;
    const header = { generation: routes.map.generation, epoch: this.#batch.epoch, remainingMs, trace };
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
    const why = whyUnroutable(routes, misses, dark < 0 ? pending[0]! : dark, error);
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
          own.map((row) => slots[row]!),
        );
    });
    this.#done.add(rows, 0, rows.length, { level: "default", epoch: this.#batch.epoch });
  }

  #onReply(attempt: Attempt, reply: ReplyPayload): void {
    const { frame } = attempt;
    const latencyMs = this.#attempts.ended(attempt);
    this.#attempts.judge(attempt, latencyMs);
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
        if (isFault(error)) this.#attempts.fault(frame.link);
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
    this.#attempts.note(attempt, "ok");
    if (hedgeOf) this.#attempts.count(this.#done.leftCount < leftBefore ? "won" : "lost");
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
    this.#attempts.ended(attempt);
    const { link } = attempt.frame;
    if (isFault(error)) this.#attempts.fault(link);
    if (attempt.isOvertaken) return attempt.cancel();
    if (attempt.hedgeOf) this.#attempts.count("failed");
    this.#guard(() => this.#failed(attempt, error));
  }

  /** What a frame asked for must come from another replica. */
  #failed(attempt: Attempt, error: ServingError): void {
    const { frame, hedgeOf } = attempt;
    if (this.#isSettled) return;
    this.#attempts.note(attempt, error.code);
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
    const atMs = this.#attempts.hedgeAtMs;
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
    const rows = this.#unhedged(attempt);
    if (rows.length === 0) return;
    const { frames, unroutable } = this.#plan(routes, rows, avoid, true);
    if (unroutable.length > 0) attempt.hedgeAtMs = nowMs + Math.max(LOOK_AGAIN_MS, attempt.delayMs); // nobody else has them now
    if (frames.length === 0) return;
    // a shard that is known to be ill is given up rather than hedged: that costs no budget
    const lastResortMs = attempt.startMs + LAST_RESORT_SHARE * (this.#options.deadlineMs - attempt.startMs);
    if (!link.health.circuit.isOpen && nowMs < lastResortMs && !hedging.spend(frames.length)) {
      this.#attempts.count("refused");
      attempt.hedgeAtMs = Math.min(nowMs + attempt.delayMs, lastResortMs);
      return;
    }
    this.#done.isContested = true;
    for (const frame of frames) this.#attempts.send(frame, attempt);
  }

  /** Rows of a frame that are not there, and that no hedge of it is asking for. */
  #unhedged(attempt: Attempt): Int32Array {
    const hedged = new Set<number>();
    for (const { frame, hedgeOf } of this.#attempts)
      if (hedgeOf === attempt) for (const row of frame.rows) hedged.add(row);
    return Int32Array.from(this.#done.missing(attempt.frame.rows)).filter((row) => !hedged.has(row));
  }

  /** Gives up frames all of whose rows are there. */
  #dropOvertaken(): void {
    for (const attempt of this.#attempts) {
      if (attempt.frame.rows.every((row) => this.#done.has(row))) this.#attempts.overtaken(attempt);
    }
  }
}

/** 0, 1 ... count - 1. */
function ascending(count: number): Int32Array {
  const rows = new Int32Array(count);
  for (let i = 0; i < count; i++) rows[i] = i;
  return rows;
}
