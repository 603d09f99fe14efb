import type { ReplyPayload } from "@shardserve/transport";
import type { FetchContext, FetchOptions } from "./fetch-context.js";
import type { FramePlan } from "./frame-plan.js";
import { Hedging } from "../replicas/hedging.js";
import { sizeClass } from "../replicas/shard-health.js";
import type { ShardLink } from "../replicas/shard-link.js";

/** A frame that is on its way. */
export interface Attempt {
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

/** Told of the end of each attempt; of a failure in a turn of its own. */
export interface AttemptEvents {
  readonly onReply: (attempt: Attempt, reply: ReplyPayload) => void;
  readonly onFail: (attempt: Attempt, reason: unknown) => void;
}

/**
 * The frames of one fetch that are on their way, and what their ends say of the shards: latency, faults, circuits, hedges. It
 * knows nothing of rows that are there or missing; {@link fetchMisses} does.
 */
export class Attempts implements Iterable<Attempt> {
  readonly #context: FetchContext;
  readonly #options: FetchOptions;
  readonly #events: AttemptEvents;
  readonly #underWay = new Set<Attempt>();

  constructor(context: FetchContext, options: FetchOptions, events: AttemptEvents) {
    this.#context = context;
    this.#options = options;
    this.#events = events;
  }

  get size(): number {
    return this.#underWay.size;
  }

  has(attempt: Attempt): boolean {
    return this.#underWay.has(attempt);
  }

  [Symbol.iterator](): Iterator<Attempt> {
    return this.#underWay[Symbol.iterator]();
  }

  /** @param hedgeOf  the frame whose rows are asked for once more; undefined = none */
  send(frame: FramePlan, hedgeOf: Attempt | undefined): void {
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
    this.#underWay.add(attempt);
    if (!hedgeOf) hedging.earn();
    link.rowsInFlight += frame.rowCount;
    const { deadlineMs } = this.#options;
    const { onReply, onFail } = this.#events;
    const cancel = link.ask(
      frame.payload,
      { deadlineMs },
      (reply) => onReply(attempt, reply),
      // it may fail before the frames beside it are sent
      (error) => queueMicrotask(() => onFail(attempt, error)),
    );
    attempt.cancel = cancel;
  }

  /** It is no longer under way. @returns how long it was, in milliseconds */
  ended(attempt: Attempt): number {
    const { clock, metrics } = this.#context;
    this.#underWay.delete(attempt);
    attempt.frame.link.rowsInFlight -= attempt.frame.rowCount;
    const latencyMs = clock.nowMs() - attempt.startMs;
    metrics.shardSeconds.observe(latencyMs / 1000);
    return latencyMs;
  }

  /** When the next frame has taken longer than usual; Infinity = no frame is hedged. */
  get hedgeAtMs(): number {
    let atMs = Number.POSITIVE_INFINITY;
    for (const attempt of this.#underWay) atMs = Math.min(atMs, attempt.hedgeAtMs);
    return atMs;
  }

  /**
   * Another replica was faster. The answer is awaited all the same, to learn what the shard's latency is, and dropped unread;
   * when it is overdue it is cancelled and speaks against the shard.
   */
  overtaken(attempt: Attempt): void {
    this.note(attempt, "overtaken");
    if (attempt.hedgeOf) {
      this.count("lost");
      return this.giveUp(attempt);
    }
    const { clock } = this.#context;
    this.#underWay.delete(attempt);
    attempt.isOvertaken = true;
    const overdueMs = Hedging.overdueMs(attempt.delayMs);
    const cancelRequest = attempt.cancel;
    const cancelTimer = clock.after(attempt.startMs + overdueMs - clock.nowMs(), () => {
      cancelRequest();
      this.judge(attempt, this.ended(attempt));
    });
    attempt.cancel = cancelTimer; // by whoever learns of its end
  }

  giveUp(attempt: Attempt): void {
    attempt.cancel();
    this.#underWay.delete(attempt);
    attempt.frame.link.rowsInFlight -= attempt.frame.rowCount;
  }

  /** What an answer's latency says of its shard. */
  judge({ frame, delayMs }: Attempt, latencyMs: number): void {
    const { health } = frame.link;
    health.observe(latencyMs, frame.rowBytes, this.#context.clock.nowMs());
    if (latencyMs >= Hedging.overdueMs(delayMs)) this.fault(frame.link);
    else health.circuit.succeeded();
  }

  /** What a shard did speaks against it; its circuit may open. */
  fault(link: ShardLink): void {
    if (!link.health.circuit.failed(this.#context.clock.nowMs())) return;
    this.#context.metrics.circuits.inc({ shard: link.shard });
  }

  /** What became of a frame, for who wants it explained. */
  note({ frame, startMs, hedgeOf }: Attempt, outcome: string): void {
    const { trace } = this.#options;
    if (!trace) return;
    const durationMs = this.#context.clock.nowMs() - startMs;
    const { shard } = frame.link;
    const isHedge = hedgeOf !== undefined;
    trace.fetched({ from: "shard", shard, rows: frame.rowCount, durationMs, isHedge, outcome }, startMs);
  }

  /** What became of a hedge. */
  count(outcome: "won" | "lost" | "failed" | "refused"): void {
    this.#context.metrics.hedges.inc({ outcome });
  }
}
