import { constants, type Http2Server, type ServerHttp2Stream } from "node:http2";
import type { Clock, Logger } from "@shardserve/core";
import type { ServerLimits } from "../limits.js";

/** Pause between looks for streams that take too long. */
const LOOK_MS = 1000;
/** A request may take longer than its time as long as it comes at this rate: large ones over slow lines are no attack. */
const BYTES_PER_SECOND_MIN = 64 * 1024;

/** What came of a request so far. */
interface Receiving {
  readonly sinceMs: number;
  bytes: number;
}

export type StreamLimits = Pick<
  ServerLimits,
  "requestsInFlightMax" | "messageBytesInFlightMax" | "receiveTimeoutMs" | "grpcStreamsMax"
>;

/**
 * Bounds what HTTP/2 streams can cost before they are calls: a call begins once its request is whole, and until then nothing else counts it.
 * A stream beyond the bound is refused, which clients try again; one whose request trickles in, or finds too many bytes of others, is
 * reset with ENHANCE_YOUR_CALM, which clients see as RESOURCE_EXHAUSTED.
 */
export class StreamGuard {
  readonly #limits: StreamLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #receiving = new Map<ServerHttp2Stream, Receiving>();
  #openCount = 0;
  #receivedBytes = 0;
  #cancelLook: (() => void) | undefined;
  /** Since the last look. */
  #refused = 0;
  #reset = 0;

  constructor(limits: StreamLimits, clock: Clock, logger: Logger) {
    this.#limits = limits;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** To be called behind whoever answers the server's streams. */
  watch(server: Http2Server): void {
    server.on("stream", (stream) => this.#admit(stream));
  }

  close(): void {
    this.#cancelLook?.();
    this.#receiving.clear();
  }

  #admit(stream: ServerHttp2Stream): void {
    this.#openCount++;
    stream.once("close", () => {
      this.#openCount--;
      this.#received(stream);
    });
    if (this.#openCount > this.#limits.grpcStreamsMax) {
      this.#refused++;
      this.#lookLater();
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const receiving: Receiving = { sinceMs: this.#clock.nowMs(), bytes: 0 };
    this.#receiving.set(stream, receiving);
    stream.on("data", (chunk: Uint8Array) => this.#count(stream, receiving, chunk.length));
    stream.once("end", () => this.#received(stream));
    this.#lookLater();
  }

  #count(stream: ServerHttp2Stream, receiving: Receiving, bytes: number): void {
    if (!this.#receiving.has(stream)) return;
    receiving.bytes += bytes;
    this.#receivedBytes += bytes;
    const isOver = this.#receivedBytes > this.#limits.messageBytesInFlightMax;
    if (isOver && this.#receivedBytes > receiving.bytes) this.#calm(stream);
  }

  #received(stream: ServerHttp2Stream): void {
    this.#receivedBytes -= this.#receiving.get(stream)?.bytes ?? 0;
    this.#receiving.delete(stream);
  }

  #calm(stream: ServerHttp2Stream): void {
    this.#reset++;
    this.#received(stream);
    stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #lookLater(): void {
    this.#cancelLook ??= this.#clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      this.#look();
      if (this.#receiving.size > 0) this.#lookLater();
    });
  }

  /** Oldest first: the first one that has time left ends the look, unless it is one that is large. */
  #look(): void {
    const nowMs = this.#clock.nowMs();
    const { receiveTimeoutMs } = this.#limits;
    for (const [stream, { sinceMs, bytes }] of this.#receiving) {
      if (nowMs - sinceMs <= receiveTimeoutMs) break;
      if (nowMs - sinceMs > receiveTimeoutMs + (bytes / BYTES_PER_SECOND_MIN) * 1000) this.#calm(stream);
    }
    if (this.#refused + this.#reset === 0) return;
    this.#logger.warn(
      { refused: this.#refused, reset: this.#reset, open: this.#openCount },
      "gRPC streams beyond the bounds: refused because too many are open, reset because their requests came too slowly or were too large together",
    );
    this.#refused = this.#reset = 0;
  }
}
