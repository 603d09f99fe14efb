import { type CancelSignal, type Clock, ServingError } from "@shardserve/core";
import { RequestTable } from "../frame/request-table.js";

/** When to give up on one request. */
export interface RequestOptions {
  readonly signal?: CancelSignal;
  /** On the injected clock's `nowMs` scale; the server is told what remains of it. */
  readonly deadlineMs?: number;
}

/** A reply's payload. Call `release` once when its bytes are no longer read: the buffer is used again. */
export interface ReplyPayload {
  readonly bytes: Uint8Array;
  release(): void;
}

/** A request without an answer. One object each: a client has a thousand of them and sends a hundred thousand a second. */
export interface Pending {
  readonly requestId: number;
  /** Type of the frame that answers it; PUSH frames go to `onItem` before. */
  readonly replyType: number;
  readonly onReply: (reply: ReplyPayload) => void;
  readonly onFail: (error: unknown) => void;
  /** Of a stream; undefined = one answer is owed. */
  readonly onItem: ((bytes: Uint8Array) => void) | undefined;
  /** On the clock's `nowMs` scale; Infinity = none. */
  readonly deadlineMs: number;
  /** What it had when it began, for the message. */
  readonly timeoutMs: number;
  readonly signal: CancelSignal | undefined;
  onAbort: (() => void) | undefined;
}

/** For {@link PendingRequests}. */
export interface PendingRequestsOptions {
  /** Who owes the answers, for messages. */
  readonly name: string;
  readonly clock: Clock;
  /** The deadline of a request passed, or its signal aborted. It is pending until it is taken out. */
  readonly onGiveUp: (pending: Pending, reason: unknown) => void;
}

/** The requests in flight on a connection: their numbers, and until when each is waited for. */
export class PendingRequests {
  readonly #options: PendingRequestsOptions;
  readonly #byId = new RequestTable<Pending>();
  #lastId = 1;
  #cancelWake: () => void = () => undefined;
  /** When the next deadline is looked at, on the clock's `nowMs` scale. */
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(options: PendingRequestsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** True while an answer is owed; streams owe none. */
  get isAnswerOwed(): boolean {
    for (const pending of this.#byId.all()) if (!pending.onItem) return true;
    return false;
  }

  get(requestId: number): Pending | undefined {
    return this.#byId.get(requestId);
  }

  /** All that are pending now, in no order. */
  all(): Pending[] {
    return this.#byId.all();
  }

  /** @param timeoutMs  what is left until the deadline, more than 0; Infinity = there is none */
  add(
    replyType: number,
    onReply: Pending["onReply"],
    onFail: Pending["onFail"],
    onItem: Pending["onItem"],
    { signal, deadlineMs = Number.POSITIVE_INFINITY }: RequestOptions,
    timeoutMs: number,
  ): Pending {
    const requestId = this.#takeId();
    const pending: Pending = {
      requestId,
      replyType,
      onReply,
      onFail,
      onItem,
      deadlineMs,
      timeoutMs,
      signal,
      onAbort: undefined,
    };
    this.#byId.add(requestId, pending);
    if (deadlineMs < this.#wakeMs) this.#wakeIn(deadlineMs, timeoutMs);
    if (signal) {
      pending.onAbort = () => this.#options.onGiveUp(pending, signal.reason);
      signal.addEventListener("abort", pending.onAbort, { once: true });
    }
    return pending;
  }

  /** Takes a request out: it is answered, or given up. @returns false when that had been done before */
  take(pending: Pending): boolean {
    if (!this.#byId.take(pending.requestId)) return false;
    if (pending.signal && pending.onAbort) pending.signal.removeEventListener("abort", pending.onAbort);
    return true;
  }

  /** Looks at no deadline any more. */
  close(): void {
    this.#cancelWake();
  }

  /** One timer for all deadlines, the earliest: most requests are answered long before theirs. */
  #wakeIn(deadlineMs: number, waitMs: number): void {
    this.#cancelWake();
    this.#wakeMs = deadlineMs;
    // After a busy turn, or when the process stood still, timers come first: what has arrived meanwhile is read before anybody is late.
    this.#cancelWake = this.#options.clock.after(waitMs, () => void setImmediate(() => this.#expire()));
  }

  #expire(): void {
    const { name, clock, onGiveUp } = this.#options;
    this.#wakeMs = Number.POSITIVE_INFINITY;
    const nowMs = clock.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const pending of this.#byId.all()) {
      if (pending.deadlineMs <= nowMs) {
        const text = `${name} did not answer in ${pending.timeoutMs} ms`;
        onGiveUp(pending, new ServingError("DEADLINE_EXCEEDED", text));
      } else if (pending.deadlineMs < nextMs) nextMs = pending.deadlineMs;
    }
    const isNeeded = this.size > 0; // whoever was told may have closed the connection
    if (isNeeded && nextMs < this.#wakeMs) this.#wakeIn(nextMs, Math.max(1, nextMs - nowMs));
  }

  #takeId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0 || 1;
    while (this.#byId.get(this.#lastId));
    return this.#lastId;
  }
}
