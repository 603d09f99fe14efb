import { connect, type NetConnectOpts } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Clock, type Logger, ServingError } from "@shardserve/core";
import { type Address, formatAddress } from "../address/address.js";
import type { BufferPool } from "../frame/buffer-pool.js";
import { FLAG_STREAM, FRAME } from "../frame/frame.js";
import { FrameDecoder } from "../frame/frame-decoder.js";
import { FrameWriter } from "../frame/frame-writer.js";
import { PROTOCOL_VERSION, readWelcome, type Welcome } from "../frame/handshake.js";
import type { TransportLimits } from "../limits.js";
import { Liveness } from "./liveness.js";
import { type Pending, PendingRequests, type ReplyPayload, type RequestOptions } from "./pending-requests.js";
import { decodeMessage, encodeMessage } from "../frame/message.js";
import { type MutualTls, tlsConnectOptions } from "../address/mutual-tls.js";
import { decodeError } from "../frame/wire-error.js";

export interface ClientSessionOptions {
  readonly address: Address;
  /** Who calls, for the server's log. */
  readonly peer: string;
  /** Absent = in clear. */
  readonly tls?: MutualTls | undefined;
  readonly limits: TransportLimits;
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called once, also when connecting failed. */
  readonly onClose: (reason: ServingError) => void;
  /** The server drains: requests in flight are finished, new ones belong elsewhere. */
  readonly onGoAway: () => void;
  /** True: the server owes answers and is silent, even to a ping. False: it came to life again. */
  readonly onSuspect: (isSuspect: boolean) => void;
}

class PooledReply implements ReplyPayload {
  readonly bytes: Uint8Array;
  readonly #pool: BufferPool;

  constructor(bytes: Uint8Array, pool: BufferPool) {
    this.bytes = bytes;
    this.#pool = pool;
  }

  release(): void {
    this.#pool.release(this.bytes);
  }
}

/** One established connection, client side: numbers requests, matches replies, enforces deadlines. Never reconnects. */
export class ClientSession {
  readonly #options: ClientSessionOptions;
  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #liveness: Liveness;
  readonly #pending: PendingRequests;
  readonly #name: string;
  #welcome: Welcome | undefined;
  #onWelcome: ((error?: ServingError) => void) | undefined;
  #isDraining = false;
  #closed: ServingError | undefined;

  /** Begins to connect; `open` settles when the server's WELCOME is here. */
  constructor(options: ClientSessionOptions) {
    this.#options = options;
    this.#name = formatAddress(options.address);
    this.#pending = new PendingRequests({
      name: this.#name,
      clock: options.clock,
      onGiveUp: (pending, reason) => {
        if (this.#cancel(pending)) pending.onFail(reason);
      },
    });
    this.#liveness = this.#watchOver();
    const decoder = new FrameDecoder("client", options.limits, options.pool, (type, flags, requestId, payload) => {
      this.#onFrame(type, flags, requestId, payload);
    });
    const target: NetConnectOpts = {
      ...options.address,
      noDelay: true,
      keepAlive: true,
      onread: {
        buffer: () => decoder.target() as Uint8Array<ArrayBuffer>,
        callback: (byteCount) => {
          this.#liveness.heard();
          try {
            decoder.advance(byteCount);
          } catch (error) {
            this.#close(ServingError.from(error));
          }
          return true;
        },
      },
    };
    const { tls } = options;
    this.#socket = tls ? connectTls({ ...target, ...tlsConnectOptions(tls) }) : connect(target);
    this.#writer = new FrameWriter(this.#socket, options.pool);
    this.#socket.on("error", (error) => this.#close(this.#lost(error.message, error)));
    this.#socket.on("close", () => this.#close(this.#lost("the peer closed the connection")));
  }

  /** Requests without an answer yet. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** The server's limits; defined once `open` resolved. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** Says HELLO and waits for WELCOME. */
  open(): Promise<Welcome> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(this.#closed);
      const { limits, clock, peer } = this.#options;
      const cancelTimer = clock.after(limits.handshakeTimeoutMs, () => {
        this.#close(this.#lost(`no handshake within ${limits.handshakeTimeoutMs} ms`));
      });
      const cancelDialTimer = clock.after(limits.connectTimeoutMs, () => {
        if (this.#socket.connecting) this.#close(this.#lost(`no connection within ${limits.connectTimeoutMs} ms`));
      });
      this.#onWelcome = (error) => {
        cancelTimer();
        cancelDialTimer();
        this.#onWelcome = undefined;
        if (error) return reject(error);
        this.#liveness.start();
        resolve(this.#welcome as Welcome);
      };
      this.#writer.send(FRAME.HELLO, 0, 0, [encodeMessage({ protocol: PROTOCOL_VERSION, peer })]);
    });
  }

  /**
   * Sends one request and resolves with its reply, of type `replyType`.
   *
   * @param payload  the session's from now on: where it came from the pool, it is given back
   * @throws ServingError RESOURCE_EXHAUSTED when the server's in-flight limit is reached, DEADLINE_EXCEEDED, UNAVAILABLE when
   * the connection is lost or draining, the server's error; the signal's reason
   */
  request(type: number, payload: Uint8Array, replyType: number, options: RequestOptions): Promise<ReplyPayload> {
    return new Promise((resolve, reject) => {
      const pending = this.#begin(replyType, resolve, reject, undefined, options);
      if (pending) this.#writer.sendOwned(type, pending.requestId, payload);
    });
  }

  /**
   * As `request`, with callbacks, one of which is called once, perhaps at once.
   *
   * @returns gives the request up and tells the server so; nothing is called after it
   */
  ask(
    type: number,
    payload: Uint8Array,
    replyType: number,
    options: RequestOptions,
    onReply: (reply: ReplyPayload) => void,
    onFail: (error: unknown) => void,
  ): () => void {
    const pending = this.#begin(replyType, onReply, onFail, undefined, options);
    if (!pending) return () => undefined;
    this.#writer.sendOwned(type, pending.requestId, payload);
    return () => void this.#cancel(pending);
  }

  /** Calls a method of the server and resolves with its result. Errors as `request`. */
  async call(method: string, params: unknown, options: RequestOptions = {}): Promise<unknown> {
    const payload = encodeMessage({ method, params, timeoutMs: this.#remainingMs(options) });
    this.#checkControlBytes(method, payload);
    const reply = await this.request(FRAME.CALL, payload, FRAME.REPLY, options);
    try {
      return decodeMessage(reply.bytes, `the reply to ${method}`);
    } finally {
      reply.release();
    }
  }

  /**
   * Opens a stream of pushes.
   *
   * @param onItem  each pushed value, in order
   * @param onEnd   called once: undefined when the server ended the stream, else the error
   * @returns stops the stream; nothing is called after it
   */
  stream(
    method: string,
    params: unknown,
    onItem: (item: unknown) => void,
    onEnd: (error: unknown) => void,
    options: RequestOptions = {},
  ): () => void {
    const payload = encodeMessage({ method, params, timeoutMs: this.#remainingMs(options) });
    const onPush = (bytes: Uint8Array) => {
      onItem(decodeMessage(bytes, `an item of ${method}`));
      this.#options.pool.release(bytes);
    };
    const onReply = (reply: ReplyPayload) => {
      reply.release();
      onEnd(undefined);
    };
    this.#checkControlBytes(method, payload);
    const pending = this.#begin(FRAME.REPLY, onReply, onEnd, onPush, options);
    if (!pending) return () => undefined;
    this.#writer.send(FRAME.CALL, FLAG_STREAM, pending.requestId, [payload]);
    return () => void this.#cancel(pending);
  }

  /** Ends the connection; everything in flight fails with `reason`. */
  close(reason: ServingError): void {
    this.#close(reason);
  }

  #begin(
    replyType: number,
    onReply: Pending["onReply"],
    onFail: Pending["onFail"],
    onItem: Pending["onItem"],
    options: RequestOptions,
  ): Pending | undefined {
    const timeoutMs = this.#remainingMs(options) ?? Number.POSITIVE_INFINITY;
    const refusal = this.#refusal(options, timeoutMs);
    if (refusal !== undefined) {
      onFail(refusal);
      return undefined;
    }
    const pending = this.#pending.add(replyType, onReply, onFail, onItem, options, timeoutMs);
    if (!onItem) this.#liveness.asked();
    return pending;
  }

  #refusal(options: RequestOptions, timeoutMs: number): unknown {
    if (this.#closed) return this.#closed;
    if (options.signal?.aborted) return options.signal.reason;
    if (timeoutMs <= 0) {
      return new ServingError("DEADLINE_EXCEEDED", `the deadline passed before ${this.#name} was asked`);
    }
    if (this.#isDraining) return new ServingError("UNAVAILABLE", `${this.#name} is draining; ask another replica`);
    const limit = Math.min(this.#options.limits.inFlightMax, this.#welcome?.inFlightMax ?? 1);
    if (this.#pending.size >= limit) {
      return new ServingError("RESOURCE_EXHAUSTED", `${limit} requests are in flight to ${this.#name} already`);
    }
    return undefined;
  }

  #checkControlBytes(method: string, payload: Uint8Array): void {
    const { controlBytesMax } = this.#options.limits;
    if (payload.length > controlBytesMax) {
      const text = `the call ${method} has ${payload.length} bytes, the limit is ${controlBytesMax}`;
      throw new ServingError("INVALID_ARGUMENT", text);
    }
  }

  #remainingMs(options: RequestOptions): number | null {
    return options.deadlineMs === undefined ? null : options.deadlineMs - this.#options.clock.nowMs();
  }

  /** @returns false when the request was finished before */
  #cancel(pending: Pending): boolean {
    if (!this.#finish(pending)) return false;
    if (!pending.onItem) this.#liveness.asked();
    this.#writer.send(FRAME.CANCEL, 0, pending.requestId, []);
    return true;
  }

  /** @returns false when the request was finished before */
  #finish(pending: Pending): boolean {
    if (!this.#pending.take(pending)) return false;
    if (this.#isDraining && this.#pending.size === 0) this.#close(this.#lost("the server drained"));
    return true;
  }

  #onFrame(type: number, _flags: number, requestId: number, payload: Uint8Array): void {
    if (type === FRAME.WELCOME) return this.#onWelcomeFrame(payload);
    if (type === FRAME.PING) return this.#writer.send(FRAME.PONG, 0, requestId, []);
    if (type === FRAME.PONG) return;
    if (type === FRAME.GOAWAY) return this.#onGoAway();
    const pending = this.#pending.get(requestId);
    if (!pending) {
      if (type === FRAME.ERROR && requestId === 0) throw decodeError(payload); // the connection as a whole is refused
      this.#options.pool.release(payload); // the answer to a request that was given up
      return;
    }
    if (type === FRAME.PUSH && pending.onItem) return pending.onItem(payload);
    this.#finish(pending);
    if (type === pending.replyType) return pending.onReply(new PooledReply(payload, this.#options.pool));
    const error = type === FRAME.ERROR ? decodeError(payload) : this.#unexpected(type);
    this.#options.pool.release(payload);
    pending.onFail(error);
  }

  #onWelcomeFrame(payload: Uint8Array): void {
    if (!this.#onWelcome) throw new ServingError("FRAME_INVALID", `${this.#name} sent WELCOME twice`);
    this.#welcome = readWelcome(decodeMessage(payload, "WELCOME"));
    this.#options.pool.release(payload);
    this.#onWelcome();
  }

  #onGoAway(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#options.onGoAway();
    if (this.#pending.size === 0) this.#close(this.#lost("the server drained"));
  }

  #watchOver(): Liveness {
    const { limits, clock, onSuspect } = this.#options;
    return new Liveness(limits, clock, {
      onPing: () => this.#writer.send(FRAME.PING, 0, 0, []),
      onSuspect,
      onDead: () => this.#close(this.#lost(`no sign of life for ${2 * limits.pingIntervalMs} ms`)),
      isWaiting: () => this.#pending.isAnswerOwed,
    });
  }

  #close(reason: ServingError): void {
    if (this.#closed) return;
    this.#closed = reason;
    this.#liveness.stop();
    this.#pending.close();
    this.#socket.destroy();
    this.#onWelcome?.(reason);
    for (const pending of this.#pending.all()) {
      if (this.#finish(pending)) pending.onFail(reason);
    }
    this.#options.logger.debug({ address: this.#name, reason: reason.message }, "connection closed");
    this.#options.onClose(reason);
  }

  #lost(why: string, cause?: unknown): ServingError {
    return new ServingError("UNAVAILABLE", `connection to ${this.#name} lost: ${why}`, { cause });
  }

  #unexpected(type: number): ServingError {
    return new ServingError("FRAME_INVALID", `${this.#name} answered with a frame of type ${type}`);
  }
}
