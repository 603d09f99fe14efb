import { CancelSource, type CancelSignal, type Clock, Roster, type RosterMember, ServingError } from "@shardserve/core";
import { RequestExplanation } from "./predict/explanation.js";
import type { RequestTrace } from "./tracing/tracing.js";

/** Metadata entry (gRPC) or header (REST) with the key that keeps a caller on one version of a traffic split. */
export const STICKY_KEY = "x-shardserve-sticky-key";

/** Metadata entry or header with the most degraded rows that a caller accepts: a count, or a share such as `0.5%`. */
export const DEGRADED_LIMIT = "x-shardserve-max-degraded-rows";

/** Metadata entry or header, of any value, with which a caller asks how it was answered: the answer tells in `x-shardserve-explanation`. */
export const EXPLAIN = "x-shardserve-explain";

/** What a client asked for beside the request itself; undefined = it did not say. */
export interface Wishes {
  /** Sent as {@link STICKY_KEY}. */
  readonly stickyKey?: string | undefined;
  /** Sent as {@link DEGRADED_LIMIT}, unchecked. */
  readonly degradedLimit?: string | undefined;
  /** Whether {@link EXPLAIN} was sent. */
  readonly isExplained?: boolean;
}

/** One request under way: its signal aborts when the caller goes, its deadline passes, or the server stops waiting for it. */
export class RequestScope implements RosterMember {
  rosterAt = -1;
  readonly deadlineMs: number | undefined;
  /** Requests with the same key go to the same version of a traffic split; undefined = each is drawn. */
  readonly stickyKey: string | undefined;
  /** Present when the request is traced. */
  trace: RequestTrace | undefined;
  /** Most degraded rows that the caller accepts, as it wrote it. */
  readonly degradedLimit: string | undefined;
  /** Present when the caller asked for it. */
  readonly explanation: RequestExplanation | undefined;
  readonly #cancel = new CancelSource();
  readonly #cancelTimer: (() => void) | null;
  readonly #onEnd: (scope: RequestScope) => void;
  readonly #onFilled: (bytes: number) => void;
  #filledBytes = 0;
  #isEnded = false;

  /**
   * @param timeoutMs  time left to the caller's deadline; undefined = none
   * @param onFilled  called by {@link filled}, before the bytes count; throws when they are too many
   */
  constructor(
    clock: Clock,
    timeoutMs: number | undefined,
    onEnd: (scope: RequestScope) => void,
    wishes: Wishes = {},
    onFilled: (bytes: number) => void = () => undefined,
  ) {
    this.#onEnd = onEnd;
    this.#onFilled = onFilled;
    this.stickyKey = wishes.stickyKey;
    this.degradedLimit = wishes.degradedLimit;
    this.explanation = wishes.isExplained ? new RequestExplanation() : undefined;
    this.deadlineMs = timeoutMs === undefined ? undefined : clock.nowMs() + timeoutMs;
    this.#cancelTimer =
      timeoutMs === undefined
        ? null
        : clock.after(Math.max(timeoutMs, 0), () =>
            this.abort(new ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")),
          );
  }

  get signal(): CancelSignal {
    return this.#cancel;
  }

  /** Bytes of tensors that the request did not send, see {@link filled}. */
  get filledBytes(): number {
    return this.#filledBytes;
  }

  /**
   * Counts bytes of tensors that the request did not send: of one value that stands for many.
   *
   * @throws ServingError RESOURCE_EXHAUSTED when all requests have too many
   */
  filled(bytes: number): void {
    this.#onFilled(bytes);
    this.#filledBytes += bytes;
  }

  abort(reason: ServingError): void {
    if (!this.#isEnded) this.#cancel.abort(reason);
  }

  /** The client is gone. Transports say so after every call, also after an answer; then nothing happens. */
  cancel(message: string): void {
    if (!this.#isEnded) this.abort(new ServingError("CANCELLED", message));
  }

  /** Call once the answer is out, on every path. */
  end(): void {
    this.#isEnded = true;
    this.#cancelTimer?.();
    this.#onEnd(this);
  }
}

/** The requests under way, so that a drain can wait for them and abort what is left. */
export class RequestScopes {
  readonly #clock: Clock;
  readonly #live = new Roster<RequestScope>();
  readonly #filledBytesMax: number;
  #onIdle: (() => void)[] = [];
  #begun = 0;
  #filledBytes = 0;

  /** @param filledBytesMax  bytes of tensors that all requests may have without sending them */
  constructor(clock: Clock, filledBytesMax: number) {
    this.#clock = clock;
    this.#filledBytesMax = filledBytesMax;
  }

  get count(): number {
    return this.#live.size;
  }

  /** Requests that came, since the start. */
  get begun(): number {
    return this.#begun;
  }

  /**
   * @param timeoutMs  time left to the caller's deadline; undefined = none
   */
  begin(timeoutMs: number | undefined, wishes?: Wishes): RequestScope {
    const scope = new RequestScope(this.#clock, timeoutMs, this.#onEnd, wishes, this.#onFilled);
    this.#live.add(scope);
    this.#begun++;
    return scope;
  }

  readonly #onFilled = (bytes: number): void => {
    if (this.#filledBytes + bytes > this.#filledBytesMax) {
      const text = `tensors without all their values would take more than ${this.#filledBytesMax} bytes together; try again later`;
      throw new ServingError("RESOURCE_EXHAUSTED", text);
    }
    this.#filledBytes += bytes;
  };

  readonly #onEnd = (ended: RequestScope): void => {
    if (!this.#live.remove(ended)) return;
    this.#filledBytes -= ended.filledBytes;
    if (this.#live.size > 0) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  };

  /** Resolves when nothing is under way any more, at the latest after `limitMs`. */
  async whenIdle(limitMs: number): Promise<void> {
    if (this.#live.size === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(limitMs, resolve);
      this.#onIdle.push(() => {
        cancel();
        resolve();
      });
    });
  }

  abortAll(reason: ServingError): void {
    for (const scope of this.#live.all()) scope.abort(reason);
  }
}
