import { invariant } from "@shardserve/core";
import type { BufferPool } from "./buffer-pool.js";
import { checkHeader, type FrameRole, HEADER_BYTES } from "./frame.js";
import type { TransportLimits } from "../limits.js";

/**
 * @param payload  8-aligned, the receiver's until it is released to the decoder's pool; it may share its memory with other
 *   payloads, so that one which is never released keeps those from being used again
 */
export type FrameListener = (type: number, flags: number, requestId: number, payload: Uint8Array) => void;

/** What a socket reads into between frames; frames that lie in it whole are handed out without a copy. */
const SLAB_BYTES = 256 * 1024;
/** With less room than this the next read goes to a new slab. */
const READ_BYTES_MIN = 64 * 1024;
/** A payload that still misses this much is read straight into a buffer of its own. */
const DIRECT_BYTES = 32 * 1024;
const EMPTY = new Uint8Array(0);

/**
 * Cuts a byte stream into frames. Memory for a payload is taken only after its header was checked against the limits. A
 * payload is copied only where it was torn between two chunks or is not 8-aligned where it lies.
 *
 * Two ways in: `push(chunk)`, whose chunk belongs to the payloads from then on, and `target()` + `advance(n)`, which let a
 * socket read into memory of the pool. After a throw the decoder must not be used again: the stream has lost its frame
 * borders.
 */
export class FrameDecoder {
  readonly #role: FrameRole;
  readonly #limits: TransportLimits;
  readonly #pool: BufferPool;
  readonly #onFrame: FrameListener;
  /** The header of a frame that is torn. */
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  #headerFilled = 0;
  /** The payload of a frame that is torn. */
  #payload: Uint8Array | undefined;
  #payloadFilled = 0;
  #slab: Uint8Array | undefined;
  #slabView: DataView = this.#header;
  /** The slab's bytes that no frame was cut of yet: an incomplete frame that has room to be completed. */
  #slabStart = 0;
  #slabEnd = 0;
  #isDirect = false;
  /**
   * The last payload did not fit into a slab, so the next one is expected not to: its header is read alone, and it is read straight
   * into its buffer to the last byte. Two short reads more cost less than the copy of what the slab would take of it.
   */
  #expectsLarge = false;

  constructor(role: FrameRole, limits: TransportLimits, pool: BufferPool, onFrame: FrameListener) {
    this.#role = role;
    this.#limits = limits;
    this.#pool = pool;
    this.#onFrame = onFrame;
  }

  /** True between frames: a stream that ends now was not torn. */
  get isBetweenFrames(): boolean {
    return this.#headerFilled === 0 && this.#payload === undefined && this.#slabStart === this.#slabEnd;
  }

  /** Where the next bytes should be written; valid until the next `advance`. */
  target(): Uint8Array {
    const payload = this.#payload;
    const missing = payload === undefined ? 0 : payload.length - this.#payloadFilled;
    this.#isDirect = missing >= DIRECT_BYTES || (missing > 0 && this.#expectsLarge);
    if (payload !== undefined && this.#isDirect) return payload.subarray(this.#payloadFilled);
    let slab = this.#slab;
    if (slab !== undefined && this.#slabStart === this.#slabEnd) {
      if (this.#pool.users(slab) === 1)
        this.#slabStart = this.#slabEnd = 0; // every payload in it was released
      else if (slab.length - this.#slabEnd < READ_BYTES_MIN + 8) slab = this.#dropSlab();
      else this.#slabStart = this.#slabEnd = (this.#slabEnd + 7) & ~7; // the next frame's payload is aligned again
    }
    if (slab === undefined) {
      slab = this.#slab = this.#pool.acquire(SLAB_BYTES);
      this.#slabView = new DataView(slab.buffer, slab.byteOffset, slab.length);
    }
    if (this.#expectsLarge && this.isBetweenFrames) return slab.subarray(this.#slabEnd, this.#slabEnd + HEADER_BYTES);
    return this.#slabEnd === 0 ? slab : slab.subarray(this.#slabEnd);
  }

  /**
   * Takes the first `byteCount` bytes of the last target.
   *
   * @throws ServingError FRAME_INVALID
   */
  advance(byteCount: number): void {
    if (this.#isDirect) {
      this.#payloadFilled += byteCount;
      if (this.#payloadFilled === (this.#payload as Uint8Array).length) this.#emitTorn();
      return;
    }
    const slab = this.#slab;
    invariant(slab !== undefined, "advance follows target");
    const end = this.#slabEnd + byteCount;
    const start = this.#cut(slab, this.#slabView, this.#slabStart, end, slab.length);
    this.#slabStart = start;
    this.#slabEnd = end;
  }

  /**
   * Takes bytes; the chunk must not be written any more: payloads may be parts of it.
   *
   * @throws ServingError FRAME_INVALID
   */
  push(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#cut(chunk, view, 0, chunk.length, 0);
  }

  /**
   * Cuts frames out of `bytes[at .. end)`.
   *
   * @param roomBytes  a frame that would end before this waits where it is to be completed; others are carried over
   * @returns where the frame begins that waits, or `end`
   */
  #cut(bytes: Uint8Array, view: DataView, start: number, end: number, roomBytes: number): number {
    let at = start;
    while (at < end) {
      if (this.#payload !== undefined) {
        at += this.#carryPayload(this.#payload, bytes, at, end);
        continue;
      }
      if (this.#headerFilled > 0 || end - at < HEADER_BYTES) {
        if (this.#headerFilled === 0 && at + HEADER_BYTES <= roomBytes) return at;
        at += this.#carryHeader(bytes, at, end);
        continue;
      }
      const payloadBytes = checkHeader(view, at, this.#role, this.#limits);
      this.#expectsLarge = payloadBytes >= SLAB_BYTES;
      const payloadAt = at + HEADER_BYTES;
      const next = payloadAt + payloadBytes;
      if (next > end && next <= roomBytes) return at;
      const isAligned = ((bytes.byteOffset + payloadAt) & 7) === 0;
      if (next <= end && (payloadBytes === 0 || isAligned)) {
        at = next;
        this.#emitWhole(bytes, view, payloadAt, payloadBytes, roomBytes > 0);
      } else at += this.#carryHeader(bytes, at, end);
    }
    return at;
  }

  #emitWhole(bytes: Uint8Array, view: DataView, at: number, payloadBytes: number, isShared: boolean): void {
    const head = at - HEADER_BYTES;
    const type = view.getUint8(head + 2);
    const flags = view.getUint8(head + 3);
    const requestId = view.getUint32(head + 4, true);
    if (payloadBytes === 0) return this.#onFrame(type, flags, requestId, EMPTY);
    if (isShared) this.#pool.share(bytes);
    this.#onFrame(type, flags, requestId, new Uint8Array(bytes.buffer, bytes.byteOffset + at, payloadBytes));
  }

  #carryHeader(bytes: Uint8Array, at: number, end: number): number {
    const taken = Math.min(HEADER_BYTES - this.#headerFilled, end - at);
    for (let i = 0; i < taken; i++) this.#header.setUint8(this.#headerFilled + i, bytes[at + i]!);
    this.#headerFilled += taken;
    if (this.#headerFilled < HEADER_BYTES) return taken;
    const payloadBytes = checkHeader(this.#header, 0, this.#role, this.#limits);
    this.#expectsLarge = payloadBytes >= SLAB_BYTES;
    this.#payloadFilled = 0;
    this.#payload = payloadBytes === 0 ? EMPTY : this.#pool.acquire(payloadBytes);
    if (payloadBytes === 0) this.#emitTorn();
    return taken;
  }

  #carryPayload(payload: Uint8Array, bytes: Uint8Array, at: number, end: number): number {
    const taken = Math.min(payload.length - this.#payloadFilled, end - at);
    const isWhole = at === 0 && taken === bytes.length;
    payload.set(isWhole ? bytes : bytes.subarray(at, at + taken), this.#payloadFilled);
    this.#payloadFilled += taken;
    if (this.#payloadFilled === payload.length) this.#emitTorn();
    return taken;
  }

  #emitTorn(): void {
    const payload = this.#payload as Uint8Array;
    this.#payload = undefined;
    this.#headerFilled = 0;
    const header = this.#header;
    this.#onFrame(header.getUint8(2), header.getUint8(3), header.getUint32(4, true), payload);
  }

  #dropSlab(): undefined {
    if (this.#slab) this.#pool.release(this.#slab);
    this.#slab = undefined;
    this.#slabStart = this.#slabEnd = 0;
  }
}
