import { ServingError } from "@shardserve/core";
import type { ReservedPayload } from "../frame/frame-writer.js";

/** What an exchange needs of its connection. */
export interface ExchangeOwner {
  /** Who is at the other end, as it introduced itself. */
  readonly peer: string;
  sendReply(exchange: Exchange, type: number, parts: readonly Uint8Array[], onFlushed?: () => void): void;
  reserveReply(exchange: Exchange, type: number, payloadBytes: number): ReservedPayload | undefined;
  afterSent(callback: () => void): void;
  sendError(exchange: Exchange, error: ServingError): void;
  releasePayload(payload: Uint8Array): void;
}

/** One request at the server, from its frame to its answer. Answer it exactly once, with `reply` or `fail`. */
export class Exchange {
  readonly requestId: number;
  /** The request's payload; valid until `releasePayload`, or as long as it is reachable if that is never called. */
  readonly payload: Uint8Array;
  readonly #owner: ExchangeOwner;
  #abort: AbortController | null = null;
  #cancelled: ServingError | null = null;
  #onAnswered: ((error?: ServingError) => void) | null = null;
  #isAnswered = false;

  constructor(owner: ExchangeOwner, requestId: number, payload: Uint8Array) {
    this.requestId = requestId;
    this.payload = payload;
    this.#owner = owner;
  }

  get peer(): string {
    return this.#owner.peer;
  }

  /** True when both came by the same connection. */
  sharesConnection(other: Exchange): boolean {
    return this.#owner === other.#owner;
  }

  /** True when nobody waits for the answer any more: cancelled, or the connection is gone. */
  get isCancelled(): boolean {
    return this.#cancelled !== null;
  }

  /** Aborts when the exchange is cancelled. Made on first use: most lookups need none. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#cancelled) this.#abort.abort(this.#cancelled);
    return this.#abort.signal;
  }

  /** Calls back once when it is answered or given up. @param callback  gets what it failed with */
  onAnswered(callback: (error?: ServingError) => void): void {
    this.#onAnswered = callback;
  }

  /** @param onFlushed  called once when the parts may be reused, also when the connection is gone */
  reply(type: number, parts: readonly Uint8Array[], onFlushed?: () => void): void {
    if (this.#isAnswered) {
      onFlushed?.();
      return;
    }
    this.#isAnswered = true;
    this.#onAnswered?.();
    this.#owner.sendReply(this, type, parts, onFlushed);
  }

  /**
   * Answers with a small payload that the caller writes in place, in this turn of the event loop and before it answers
   * anything else.
   *
   * @param payloadBytes  at most JOIN_BYTES_MAX
   * @returns the payload, its contents undefined; undefined when nobody waits for it any more
   */
  reserveReply(type: number, payloadBytes: number): ReservedPayload | undefined {
    if (this.#isAnswered) return undefined;
    this.#isAnswered = true;
    this.#onAnswered?.();
    return this.#owner.reserveReply(this, type, payloadBytes);
  }

  /** Calls back once all that was sent on this connection so far has left, or the connection is gone. */
  afterSent(callback: () => void): void {
    this.#owner.afterSent(callback);
  }

  fail(error: unknown): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    const reason = ServingError.from(error);
    this.#onAnswered?.(reason);
    this.#owner.sendError(this, reason);
  }

  /** Gives the request's payload back for reuse. */
  releasePayload(): void {
    this.#owner.releasePayload(this.payload);
  }

  /** For the connection: nobody waits any more. */
  cancel(reason: ServingError): void {
    if (this.#cancelled || this.#isAnswered) return;
    this.#cancelled = reason;
    this.#abort?.abort(reason);
    this.#onAnswered?.(reason);
    this.#onAnswered = null;
  }
}
