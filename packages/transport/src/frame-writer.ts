import type { Socket } from "node:net";
import { invariant } from "@shardserve/core";
import { HEADER_BYTES, writeHeader } from "./frame.js";

/** Frames up to this size are joined into one buffer: cheaper than two entries of a writev. */
const JOIN_BYTES = 4096;

/** A payload that is made while it is written, so that each part is still in the CPU's cache when the kernel copies it. */
export interface LazyPayload {
  /** Bytes of all parts together. */
  readonly byteLength: number;
  /** Yields the parts; is told whether the kernel took each at once: then its memory may be used for the next one. */
  readonly parts: Generator<Uint8Array, void, boolean>;
  /** A part that was not taken at once has left. */
  onPartFlushed(part: Uint8Array): void;
  /** Everything has left, or the socket is gone. Called once. */
  onFlushed(): void;
}

/**
 * Writes frames to a socket. Frames of one turn of the event loop leave in one writev; large payloads are not copied and
 * must stay untouched until `onFlushed`.
 */
export class FrameWriter {
  readonly #socket: Socket;
  #isCorked = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Bytes that the kernel has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  /** @param onFlushed  called once: the kernel has the bytes, or the socket is gone; the parts may be reused */
  send(type: number, flags: number, requestId: number, parts: readonly Uint8Array[], onFlushed?: () => void): void {
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.length;
    if (this.#socket.destroyed) {
      onFlushed?.();
      return;
    }
    this.#cork();
    const isJoined = payloadBytes <= JOIN_BYTES;
    const head = Buffer.allocUnsafe(isJoined ? HEADER_BYTES + payloadBytes : HEADER_BYTES);
    const view = new DataView(head.buffer, head.byteOffset, HEADER_BYTES);
    writeHeader(view, 0, type, flags, requestId, payloadBytes);
    if (isJoined) {
      let at = HEADER_BYTES;
      for (const part of parts) {
        head.set(part, at);
        at += part.length;
      }
      this.#socket.write(head, onFlushed);
      return;
    }
    this.#socket.write(head);
    const last = parts.length - 1;
    for (let i = 0; i <= last; i++) this.#socket.write(parts[i] as Uint8Array, i === last ? onFlushed : undefined);
  }

  /**
   * Writes a frame part by part. Nothing else may be sent before it returns; when a part cannot be made, the frame is torn
   * and the socket is destroyed.
   */
  sendLazily(type: number, flags: number, requestId: number, payload: LazyPayload): void {
    const socket = this.#socket;
    this.#uncork();
    const head = Buffer.allocUnsafe(HEADER_BYTES);
    const view = new DataView(head.buffer, head.byteOffset, HEADER_BYTES);
    writeHeader(view, 0, type, flags, requestId, payload.byteLength);
    socket.write(head);
    let isTaken = true;
    let leftBytes = payload.byteLength;
    try {
      for (let step = payload.parts.next(true); !step.done; step = payload.parts.next(isTaken)) {
        const part = step.value;
        leftBytes -= part.length;
        const isLast = leftBytes === 0;
        let isReusable = false;
        socket.write(part, () => {
          if (!isReusable) payload.onPartFlushed(part);
          if (isLast) payload.onFlushed();
        });
        // what is not counted as waiting was written in this very call
        isReusable = !socket.destroyed && socket.writableLength === 0;
        isTaken = isReusable;
      }
      invariant(leftBytes === 0, `the parts of a payload miss its length by ${leftBytes} bytes`);
    } catch (error) {
      socket.destroy();
      if (leftBytes > 0) payload.onFlushed();
      throw error;
    }
  }

  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    process.nextTick(() => this.#uncork());
  }

  #uncork(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#socket.uncork();
  }
}
