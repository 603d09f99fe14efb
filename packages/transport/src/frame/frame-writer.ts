import type { Socket } from "node:net";
import { invariant } from "@shardserve/core";
import type { BufferPool } from "./buffer-pool.js";
import { HEADER_BYTES, writeHeader } from "./frame.js";

/**
 * Payloads up to this size are copied behind one another. The copy costs less than an entry of a writev, which is a stream
 * write in Node, and the reader is woken once for many frames.
 */
export const JOIN_BYTES_MAX = 128 * 1024;
/** Joined frames leave when this is full: enough to wake the reader seldom, little enough to stay in a second-level cache. */
const SLAB_BYTES = 512 * 1024;
/** Heads of large payloads up to this size are written from a copy, so that no slab waits with them. */
const COPIED_BYTES = 4096;

/** Where the payload of a reserved frame lies, among the frames that leave with it. Valid until the next one is reserved. */
export interface ReservedPayload {
  readonly bytes: Uint8Array;
  /** Of `bytes`. */
  readonly view: DataView;
  /** Offset of the payload. */
  readonly start: number;
}

/**
 * Writes frames to a socket. Small frames of one turn of the event loop are joined in one buffer and leave in one write;
 * large payloads are not copied and must stay untouched until `onFlushed`.
 */
export class FrameWriter {
  readonly #socket: Socket;
  readonly #pool: BufferPool;
  #slab: Uint8Array | undefined;
  #slabView: DataView | undefined;
  /** One for all: an object and two views for each small reply cost more than the reply's bytes. */
  readonly #reserved: { -readonly [K in keyof ReservedPayload]: ReservedPayload[K] };
  #filled = 0;
  #isScheduled = false;
  #afterSent: (() => void)[] = [];

  constructor(socket: Socket, pool: BufferPool) {
    this.#socket = socket;
    this.#pool = pool;
    const bytes = new Uint8Array(0);
    this.#reserved = { bytes, view: new DataView(bytes.buffer), start: 0 };
  }

  /** Bytes that the kernel has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength + this.#filled;
  }

  /** @param onFlushed  called once: the kernel has the bytes, or the socket is gone; the parts may be reused */
  send(type: number, flags: number, requestId: number, parts: readonly Uint8Array[], onFlushed?: () => void): void {
    const socket = this.#socket;
    if (socket.destroyed) {
      onFlushed?.();
      return;
    }
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.length;
    if (payloadBytes <= JOIN_BYTES_MAX) {
      const { bytes, start } = this.reserve(type, flags, requestId, payloadBytes);
      let at = start;
      for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
      }
      if (onFlushed) this.afterSent(onFlushed);
      return;
    }
    this.#begin(type, flags, requestId, 0, payloadBytes);
    socket.cork();
    this.flush();
    const last = parts.length - 1;
    for (let i = 0; i <= last; i++) socket.write(parts[i]!, i === last ? onFlushed : undefined);
    socket.uncork();
  }

  /** Sends a payload that is the writer's from now on: where it came from the pool, it goes back there when nobody reads it. */
  sendOwned(type: number, requestId: number, payload: Uint8Array): void {
    const isJoined = payload.length <= JOIN_BYTES_MAX;
    this.send(type, 0, requestId, [payload], isJoined ? undefined : () => this.#pool.release(payload));
    if (isJoined) this.#pool.release(payload);
  }

  /**
   * Begins a frame whose payload the caller writes in this turn of the event loop, before anything else is sent.
   *
   * @param payloadBytes  at most {@link JOIN_BYTES_MAX}
   * @returns the place of the payload; its contents are undefined
   */
  reserve(type: number, flags: number, requestId: number, payloadBytes: number): ReservedPayload {
    invariant(payloadBytes <= JOIN_BYTES_MAX, () => `${payloadBytes} bytes are too many to be joined`);
    const reserved = this.#reserved;
    reserved.start = this.#begin(type, flags, requestId, payloadBytes);
    reserved.bytes = this.#slab as Uint8Array;
    reserved.view = this.#slabView as DataView;
    this.#filled += payloadBytes;
    return reserved;
  }

  /** Calls back once everything sent so far has left, or the socket is gone. */
  afterSent(callback: () => void): void {
    this.#schedule();
    this.#afterSent.push(callback);
  }

  /** Hands the joined frames to the socket now instead of at the end of the turn. */
  flush(): void {
    const slab = this.#slab;
    const waiting = this.#afterSent;
    this.#afterSent = [];
    if (slab === undefined || this.#filled === 0) {
      if (waiting.length === 0) return;
      if (this.#socket.writableLength === 0 || this.#socket.destroyed) return waiting.forEach(call);
      this.#socket.write("", () => waiting.forEach(call));
      return;
    }
    const joined = slab.subarray(0, this.#filled);
    this.#filled = 0;
    this.#slab = undefined;
    if (joined.length <= COPIED_BYTES) {
      this.#socket.write(Buffer.from(joined), waiting.length > 0 ? () => waiting.forEach(call) : undefined);
      this.#pool.release(slab);
      return;
    }
    let isReleased = false;
    this.#socket.write(joined, () => {
      if (!isReleased) this.#pool.release(slab);
      waiting.forEach(call);
    });
    if (!this.#hasLeft) return;
    isReleased = true; // so that all connections work in the same, cached memory
    this.#pool.release(slab);
  }

  /** What is not counted as waiting was written in the very call. */
  get #hasLeft(): boolean {
    return !this.#socket.destroyed && this.#socket.writableLength === 0;
  }

  /** Writes a header to the slab, with room for `roomBytes` behind it. @returns where the room begins */
  #begin(type: number, flags: number, requestId: number, roomBytes: number, payloadBytes = roomBytes): number {
    if (this.#filled + HEADER_BYTES + roomBytes > SLAB_BYTES) this.flush();
    this.#schedule();
    if (this.#slab === undefined) {
      this.#slab = this.#pool.acquire(SLAB_BYTES);
      this.#slabView = new DataView(this.#slab.buffer, this.#slab.byteOffset, SLAB_BYTES);
    }
    writeHeader(this.#slabView as DataView, this.#filled, type, flags, requestId, payloadBytes);
    this.#filled += HEADER_BYTES;
    return this.#filled;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(() => {
      this.#isScheduled = false;
      this.flush();
    });
  }
}

function call(callback: () => void): void {
  callback();
}
