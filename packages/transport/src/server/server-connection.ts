import type { Socket } from "node:net";
import { type Clock, type Logger, ServingError } from "@shardserve/core";
import type { BufferPool } from "../frame/buffer-pool.js";
import { Exchange, type ExchangeOwner } from "./exchange.js";
import { FLAG_STREAM, FRAME } from "../frame/frame.js";
import { FrameDecoder } from "../frame/frame-decoder.js";
import { FrameWriter, type ReservedPayload } from "../frame/frame-writer.js";
import { PROTOCOL_VERSION, readHello } from "../frame/handshake.js";
import type { TransportLimits } from "../limits.js";
import { asRecord, decodeMessage, encodeMessage } from "../frame/message.js";
import { RequestTable } from "../frame/request-table.js";
import { encodeError } from "../frame/wire-error.js";

/** How long a refused peer has to read why. */
const FAREWELL_MS = 1_000;

/** What a method sees of its call. */
export interface CallContext {
  /** Who calls, as it introduced itself. */
  readonly peer: string;
  /** Aborts when the caller gives up, its deadline passes, or the connection ends. */
  readonly signal: AbortSignal;
  /** On the server clock's `nowMs` scale; undefined = none. */
  readonly deadlineMs: number | undefined;
  /** State of the connection that methods share ("open" leaves its channels here). */
  readonly connection: object;
}

/** What a stream's handler is given. */
export interface StreamContext extends CallContext {
  /**
   * Sends one item.
   *
   * @throws ServingError RESOURCE_EXHAUSTED when the peer reads too slowly; the signal's reason when nobody listens
   */
  push(this: void, item: unknown): void;
}

/** Answers a call; a throw becomes the caller's error. */
export type CallHandler = (params: unknown, context: CallContext) => unknown;
/** Sends items until it returns, which ends the stream, or throws. */
export type StreamHandler = (params: unknown, context: StreamContext) => Promise<void>;
/**
 * Answers a LOOKUP through the exchange, at once or later. A throw is answered as ERROR. `connection` is the one that
 * CallContext has.
 */
export type LookupHandler = (exchange: Exchange, connection: object) => void;

/** What a server gives each of its connections. */
export interface ServerConnectionHost {
  readonly peer: string;
  readonly limits: TransportLimits;
  readonly pool: BufferPool;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly calls: Readonly<Record<string, CallHandler>>;
  readonly streams: Readonly<Record<string, StreamHandler>>;
  readonly lookup: LookupHandler | undefined;
  /** Told in WELCOME. */
  readonly takesTraces: boolean;
  /** Called when all lookups that arrived together were handed over. */
  readonly afterLookups: (() => void) | undefined;
  readonly onClose: (connection: ServerConnection) => void;
}

/** One connection, server side. */
export class ServerConnection implements ExchangeOwner {
  readonly #host: ServerConnectionHost;
  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #exchanges = new RequestTable<Exchange>();
  readonly #shared = {};
  #peer = "";
  #isClosed = false;
  #isDraining = false;
  #isStalled = false;
  #hasLookups = false;
  #cancelTimer: () => void;
  #takenBytesAtCheck = 0;

  constructor(socket: Socket, host: ServerConnectionHost) {
    this.#host = host;
    this.#socket = socket;
    this.#writer = new FrameWriter(socket, host.pool);
    const decoder = new FrameDecoder("server", host.limits, host.pool, (type, flags, requestId, payload) => {
      this.#onFrame(type, flags, requestId, payload);
    });
    socket.on("data", (chunk) => {
      if (this.#isClosed) return;
      try {
        decoder.push(chunk);
      } catch (error) {
        this.#refuse(ServingError.from(error));
      }
      this.#endLookups();
    });
    socket.on("drain", () => {
      this.#isStalled = false;
      socket.resume();
    });
    socket.on("error", (error) => this.#end(new ServingError("UNAVAILABLE", `connection lost: ${error.message}`)));
    socket.on("close", () => this.#end(new ServingError("UNAVAILABLE", "the peer closed the connection")));
    this.#cancelTimer = host.clock.after(host.limits.handshakeTimeoutMs, () => {
      this.#refuse(new ServingError("FRAME_INVALID", `no HELLO within ${host.limits.handshakeTimeoutMs} ms`));
    });
  }

  /** The peer's name, "" before its HELLO. */
  get peer(): string {
    return this.#peer;
  }

  get inFlight(): number {
    return this.#exchanges.size;
  }

  /** Bytes of replies that the peer has not read yet. */
  get pendingBytes(): number {
    return this.#writer.pendingBytes;
  }

  /** Tells the peer to send no more; requests that come anyway are refused with DRAINING. */
  drain(): void {
    if (this.#isDraining || this.#isClosed) return;
    this.#isDraining = true;
    this.#writer.send(FRAME.GOAWAY, 0, 0, []);
  }

  /** Ends the connection now; what is in flight is cancelled. */
  destroy(): void {
    this.#end(new ServingError("DRAINING", "the server closes"));
  }

  sendReply(exchange: Exchange, type: number, parts: readonly Uint8Array[], onFlushed?: () => void): void {
    if (this.#isOver(exchange)) {
      onFlushed?.();
      return;
    }
    this.#exchanges.take(exchange.requestId);
    this.#writer.send(type, 0, exchange.requestId, parts, onFlushed);
    this.#watchWrites();
  }

  reserveReply(exchange: Exchange, type: number, payloadBytes: number): ReservedPayload | undefined {
    if (this.#isOver(exchange)) return undefined;
    this.#exchanges.take(exchange.requestId);
    const payload = this.#writer.reserve(type, 0, exchange.requestId, payloadBytes);
    this.#watchWrites();
    return payload;
  }

  afterSent(callback: () => void): void {
    this.#writer.afterSent(callback);
  }

  sendError(exchange: Exchange, error: ServingError): void {
    if (this.#isOver(exchange)) return;
    this.#exchanges.take(exchange.requestId);
    this.#sendError(exchange.requestId, error);
  }

  releasePayload(payload: Uint8Array): void {
    this.#host.pool.release(payload);
  }

  /** Nobody waits for it; under its id there may be another request by now. */
  #isOver(exchange: Exchange): boolean {
    return this.#isClosed || exchange.isCancelled;
  }

  #onFrame(type: number, flags: number, requestId: number, payload: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#peer === "") return this.#onHello(type, payload);
    switch (type) {
      case FRAME.LOOKUP:
      case FRAME.CALL:
        return this.#onRequest(type, flags, requestId, payload);
      case FRAME.CANCEL: {
        this.#exchanges.take(requestId)?.cancel(new ServingError("CANCELLED", "the caller gave up"));
        return;
      }
      case FRAME.PING:
        return this.#writer.send(FRAME.PONG, 0, requestId, []);
      case FRAME.PONG:
        return;
      default:
        throw new ServingError("FRAME_INVALID", `${this.#peer} sent a second HELLO`);
    }
  }

  #onHello(type: number, payload: Uint8Array): void {
    if (type !== FRAME.HELLO) throw new ServingError("FRAME_INVALID", "the first frame must be HELLO");
    this.#peer = readHello(decodeMessage(payload, "HELLO")).peer || "unnamed";
    this.#cancelTimer();
    const { inFlightMax, requestBytesMax, replyBytesMax } = this.#host.limits;
    const { peer, takesTraces } = this.#host;
    const said = { inFlightMax, requestBytesMax, replyBytesMax, ...(takesTraces && { takesTraces }) };
    this.#writer.send(FRAME.WELCOME, 0, 0, [encodeMessage({ protocol: PROTOCOL_VERSION, peer, ...said })]);
    if (this.#isDraining) this.#writer.send(FRAME.GOAWAY, 0, 0, []);
    this.#scheduleStallCheck();
  }

  #onRequest(type: number, flags: number, requestId: number, payload: Uint8Array): void {
    if (this.#exchanges.get(requestId)) {
      throw new ServingError("FRAME_INVALID", `${this.#peer} used request id ${requestId} twice`);
    }
    const { inFlightMax } = this.#host.limits;
    if (this.#isDraining) {
      return this.#sendError(requestId, new ServingError("DRAINING", `${this.#host.peer} drains; ask another replica`));
    }
    if (this.#exchanges.size >= inFlightMax) {
      const text = `${inFlightMax} requests are in flight on this connection already`;
      return this.#sendError(requestId, new ServingError("RESOURCE_EXHAUSTED", text));
    }
    const exchange = new Exchange(this, requestId, payload);
    this.#exchanges.add(requestId, exchange);
    if (type === FRAME.CALL) {
      this.#onCall(exchange, (flags & FLAG_STREAM) !== 0).catch((error: unknown) => exchange.fail(error));
      return;
    }
    this.#hasLookups = true;
    try {
      if (!this.#host.lookup) throw new ServingError("UNIMPLEMENTED", `${this.#host.peer} serves no rows`);
      this.#host.lookup(exchange, this.#shared);
    } catch (error) {
      exchange.fail(error);
    }
  }

  #endLookups(): void {
    if (!this.#hasLookups) return;
    this.#hasLookups = false;
    try {
      this.#host.afterLookups?.();
    } catch (error) {
      this.#refuse(ServingError.from(error)); // a reply may be torn
    }
  }

  async #onCall(exchange: Exchange, isStream: boolean): Promise<void> {
    const { method, params, timeoutMs } = asRecord(decodeMessage(exchange.payload, "a call"), "a call");
    exchange.releasePayload();
    if (typeof method !== "string") throw new ServingError("FRAME_INVALID", "a call names no method");
    const { clock, calls, streams, peer } = this.#host;
    const deadlineMs = typeof timeoutMs === "number" ? clock.nowMs() + timeoutMs : undefined;
    const cancelTimer =
      typeof timeoutMs === "number"
        ? clock.after(timeoutMs, () => {
            exchange.cancel(new ServingError("DEADLINE_EXCEEDED", `${method} ran out of its ${timeoutMs} ms`));
            this.#exchanges.take(exchange.requestId);
          })
        : undefined;
    const { signal } = exchange;
    const context = { peer: this.#peer, signal, deadlineMs, connection: this.#shared };
    try {
      const table = isStream ? streams : calls;
      if (!Object.hasOwn(table, method)) {
        throw new ServingError("UNIMPLEMENTED", `${peer} has no ${isStream ? "stream" : "method"} ${method}`);
      }
      const result = isStream
        ? await streams[method]?.(params, { ...context, push: (item) => this.#push(exchange, method, item) })
        : await calls[method]?.(params, context);
      exchange.reply(FRAME.REPLY, [this.#encodeControl(method, result ?? null)]);
    } finally {
      cancelTimer?.();
    }
  }

  #push(exchange: Exchange, method: string, item: unknown): void {
    if (exchange.isCancelled) throw exchange.signal.reason;
    if (this.#writer.pendingBytes > this.#host.limits.writeBytesHigh) {
      const text = `${this.#peer} reads ${method} too slowly: ${this.#writer.pendingBytes} bytes wait for it`;
      throw new ServingError("RESOURCE_EXHAUSTED", text);
    }
    this.#writer.send(FRAME.PUSH, 0, exchange.requestId, [this.#encodeControl(method, item)]);
  }

  #encodeControl(method: string, value: unknown): Uint8Array {
    const payload = encodeMessage(value);
    const { controlBytesMax } = this.#host.limits;
    if (payload.length <= controlBytesMax) return payload;
    const text = `an answer of ${method} has ${payload.length} bytes, the limit is ${controlBytesMax}`;
    throw new ServingError("RESOURCE_EXHAUSTED", text);
  }

  #sendError(requestId: number, error: ServingError): void {
    this.#writer.send(FRAME.ERROR, 0, requestId, [encodeError(error)]);
    this.#watchWrites();
  }

  /** A peer that does not read is not read from. */
  #watchWrites(): void {
    if (this.#isStalled || this.#writer.pendingBytes <= this.#host.limits.writeBytesHigh) return;
    this.#isStalled = true;
    this.#socket.pause();
  }

  #scheduleStallCheck(): void {
    const { stallTimeoutMs } = this.#host.limits;
    this.#cancelTimer = this.#host.clock.after(stallTimeoutMs, () => {
      const takenBytes = this.#socket.bytesWritten - this.#writer.pendingBytes; // bytesWritten counts queued bytes too
      const isStuck = this.#writer.pendingBytes > 0 && takenBytes === this.#takenBytesAtCheck;
      this.#takenBytesAtCheck = takenBytes;
      if (isStuck) {
        this.#end(new ServingError("UNAVAILABLE", `${this.#peer} read nothing for ${stallTimeoutMs} ms`));
        return;
      }
      this.#scheduleStallCheck();
    });
  }

  /** Tells the peer why, then ends: the connection as a whole is refused. */
  #refuse(error: ServingError): void {
    if (this.#isClosed) return;
    this.#host.logger.warn({ peer: this.#peer, code: error.code, error: error.message }, "connection refused");
    this.#writer.send(FRAME.ERROR, 0, 0, [encodeError(error)]);
    this.#writer.flush();
    this.#socket.destroySoon(); // after what is written has left
    this.#host.clock.after(FAREWELL_MS, () => this.#socket.destroy());
    this.#end(error, false);
  }

  #end(reason: ServingError, destroy = true): void {
    if (destroy) this.#socket.destroy();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelTimer();
    for (const exchange of this.#exchanges.all()) {
      this.#exchanges.take(exchange.requestId);
      exchange.cancel(reason);
    }
    this.#host.onClose(this);
  }
}
