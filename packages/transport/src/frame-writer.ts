import type { Socket } from "node:net";
import { HEADER_BYTES, writeHeader } from "./frame.js";

/** Frames up to this size are joined into one buffer: cheaper than two entries of a writev. */
const JOIN_BYTES = 4096;

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

  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#isCorked = false;
      this.#socket.uncork();
    });
  }
}
