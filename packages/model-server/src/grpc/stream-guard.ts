import { constants, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { type Clock, type Logger, Roster, type RosterMember } from "@shardserve/core";
import type { ServerLimits } from "../limits.js";

/** Pause between looks for streams that take too long. */
const LOOK_MS = 1000;
/** A request may take longer than its time as long as it comes at this rate: large ones over slow lines are no attack. */
const BYTES_PER_SECOND_MIN = 64 * 1024;

/** A stream whose request is not whole yet, and what came of it so far. */
interface Receiving extends RosterMember {
  readonly stream: ServerHttp2Stream;
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
  readonly #receiving = new Roster<Receiving>();
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
    for (const receiving of this.#receiving.all()) this.#receiving.remove(receiving);
  }

  #admit(stream: ServerHttp2Stream): void {
    this.#openCount++;
    const receiving: Receiving = { stream, sinceMs: this.#clock.nowMs(), bytes: 0, rosterAt: -1 };
    stream.once("close", () => {
      this.#openCount--;
      this.#received(receiving);
    });
    if (this.#openCount > this.#limits.grpcStreamsMax) {
      this.#refused++;
      this.#lookLater();
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    this.#receiving.add(receiving);
    stream.on("data", (chunk: Uint8Array) => this.#count(receiving, chunk.length));
    stream.once("end", () => this.#received(receiving));
    this.#lookLater();
  }

  #count(receiving: Receiving, bytes: number): void {
    if (receiving.rosterAt < 0) return;
    receiving.bytes += bytes;
    this.#receivedBytes += bytes;
    const isOver = this.#receivedBytes > this.#limits.messageBytesInFlightMax;
    if (isOver && this.#receivedBytes > receiving.bytes) this.#calm(receiving);
  }

  #received(receiving: Receiving): void {
    if (this.#receiving.remove(receiving)) this.#receivedBytes -= receiving.bytes;
  }

  #calm(receiving: Receiving): void {
    this.#reset++;
    this.#received(receiving);
    receiving.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #lookLater(): void {
    this.#cancelLook ??= this.#clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      this.#look();
      if (this.#receiving.size > 0) this.#lookLater();
    });
  }

  #look(): void {
    const nowMs = this.#clock.nowMs();
    const { receiveTimeoutMs } = this.#limits;
    for (const receiving of this.#receiving.all()) {
      const allowedMs = receiveTimeoutMs + (receiving.bytes / BYTES_PER_SECOND_MIN) * 1000;
      if (nowMs - receiving.sinceMs > allowedMs) this.#calm(receiving);
    }
    if (this.#refused + this.#reset === 0) return;
    this.#logger.warn(
      { refused: this.#refused, reset: this.#reset, open: this.#openCount },
      "gRPC streams beyond the bounds: refused because too many are open, reset because their requests came too slowly or were too large together",
    );
    this.#refused = this.#reset = 0;
  }
}
