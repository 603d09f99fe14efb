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
  readonly #hold: (bytes: number) => void;
  #heldBytes = 0;
  #pins = 0;
  #onUnpinned: (() => void) | undefined;
  #isEnded = false;

  /**
   * @param timeoutMs  time left to the caller's deadline; undefined = none
   * @param hold  counts bytes over all requests, negative ones when they are given back; throws when they are too many
   */
  constructor(
    clock: Clock,
    timeoutMs: number | undefined,
    onEnd: (scope: RequestScope) => void,
    wishes: Wishes = {},
    hold: (bytes: number) => void = () => undefined,
  ) {
    this.#onEnd = onEnd;
    this.#hold = hold;
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

  /**
   * Counts memory that the request takes beyond its own bytes, until it is freed: of one value that stands for many, say. Negative
   * bytes give some back.
   *
   * @throws ServingError RESOURCE_EXHAUSTED when all requests take too much
   */
  readonly hold = (bytes: number): void => {
    this.#hold(bytes);
    this.#heldBytes += bytes;
  };

  /** A run began to read the request's tensors. It may outlive the request: what cannot be stopped reads on when its caller gave up. */
  pin(): void {
    this.#pins++;
  }

  /** Call once for each {@link pin}. */
  unpin(): void {
    if (--this.#pins > 0) return;
    this.#onUnpinned?.();
    this.#onUnpinned = undefined;
    this.#giveBack();
  }

  /** Calls back once no run reads the request's tensors: at once, mostly. To be asked once, by who keeps their bytes. */
  whenUnpinned(callback: () => void): void {
    if (this.#pins === 0) callback();
    else this.#onUnpinned = callback;
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
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelTimer?.();
    this.#onEnd(this);
    this.#giveBack();
  }

  #giveBack(): void {
    if (!this.#isEnded || this.#pins > 0 || this.#heldBytes === 0) return;
    this.#hold(-this.#heldBytes);
    this.#heldBytes = 0;
  }
}

/** The requests under way, so that a drain can wait for them and abort what is left. */
export class RequestScopes {
  readonly #clock: Clock;
  readonly #live = new Roster<RequestScope>();
  readonly #heldBytesMax: number;
  #onIdle: (() => void)[] = [];
  #begun = 0;
  #heldBytes = 0;

  /** @param heldBytesMax  bytes that all requests may take beyond those that they sent */
  constructor(clock: Clock, heldBytesMax: number) {
    this.#clock = clock;
    this.#heldBytesMax = heldBytesMax;
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
    const scope = new RequestScope(this.#clock, timeoutMs, this.#onEnd, wishes, this.#hold);
    this.#live.add(scope);
    this.#begun++;
    return scope;
  }

  readonly #hold = (bytes: number): void => {
    if (bytes > 0 && this.#heldBytes + bytes > this.#heldBytesMax) {
      const text = `requests under way would take more than ${this.#heldBytesMax} bytes beyond those that they sent; try again later`;
      throw new ServingError("RESOURCE_EXHAUSTED", text);
    }
    this.#heldBytes += bytes;
  };

  readonly #onEnd = (ended: RequestScope): void => {
    if (!this.#live.remove(ended)) return;
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
