import type { BufferPool } from "./buffer-pool.js";
import { checkHeader, type FrameRole, HEADER_BYTES } from "./frame.js";
import type { TransportLimits } from "./limits.js";

/** @param payload  owned by the receiver, 8-aligned, from the decoder's pool: release it there when it is done with */
export type FrameListener = (type: number, flags: number, requestId: number, payload: Uint8Array) => void;

const STAGING_BYTES = 256 * 1024;
/** A payload that still misses this much is read straight into its own buffer, without a copy. */
const DIRECT_BYTES = 32 * 1024;
const EMPTY = new Uint8Array(0);

/**
 * Cuts a byte stream into frames. Each payload is assembled in one buffer of its announced size, taken only after the
 * header was checked against the limits.
 *
 * Two ways in: `push(chunk)` copies; `target()` + `advance(n)` let a socket read into the place where the bytes belong.
 * After a throw the decoder must not be used again: the stream has lost its frame borders.
 */
export class FrameDecoder {
  readonly #role: FrameRole;
  readonly #limits: TransportLimits;
  readonly #pool: BufferPool;
  readonly #onFrame: FrameListener;
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  #headerFilled = 0;
  #payload: Uint8Array | undefined;
  #payloadFilled = 0;
  #staging: Uint8Array | undefined;
  #isDirect = false;

  constructor(role: FrameRole, limits: TransportLimits, pool: BufferPool, onFrame: FrameListener) {
    this.#role = role;
    this.#limits = limits;
    this.#pool = pool;
    this.#onFrame = onFrame;
  }

  /** True between frames: a stream that ends now was not torn. */
  get isBetweenFrames(): boolean {
    return this.#headerFilled === 0 && this.#payload === undefined;
  }

  /** Where the next bytes should be written; valid until the next `advance`. */
  target(): Uint8Array {
    const payload = this.#payload;
    if (payload !== undefined && payload.length - this.#payloadFilled >= DIRECT_BYTES) {
      this.#isDirect = true;
      return payload.subarray(this.#payloadFilled);
    }
    this.#isDirect = false;
    return (this.#staging ??= Buffer.allocUnsafeSlow(STAGING_BYTES));
  }

  /**
   * Takes the first `byteCount` bytes of the last target.
   *
   * @throws ServingError FRAME_INVALID
   */
  advance(byteCount: number): void {
    if (!this.#isDirect) return this.push((this.#staging as Uint8Array).subarray(0, byteCount));
    this.#payloadFilled += byteCount;
    if (this.#payloadFilled === (this.#payload as Uint8Array).length) this.#emit();
  }

  /**
   * Takes bytes; the chunk is not retained.
   *
   * @throws ServingError FRAME_INVALID
   */
  push(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#payload === undefined) offset += this.#readHeader(chunk, offset);
      else offset += this.#readPayload(this.#payload, chunk, offset);
    }
  }

  #readHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(HEADER_BYTES - this.#headerFilled, chunk.length - offset);
    for (let i = 0; i < taken; i++) this.#headerBytes[this.#headerFilled + i] = chunk[offset + i] as number;
    this.#headerFilled += taken;
    if (this.#headerFilled < HEADER_BYTES) return taken;
    const payloadBytes = checkHeader(this.#header, 0, this.#role, this.#limits);
    this.#payloadFilled = 0;
    this.#payload = payloadBytes === 0 ? EMPTY : this.#pool.acquire(payloadBytes);
    if (payloadBytes === 0) this.#emit();
    return taken;
  }

  #readPayload(payload: Uint8Array, chunk: Uint8Array, offset: number): number {
    const taken = Math.min(payload.length - this.#payloadFilled, chunk.length - offset);
    const isWhole = offset === 0 && taken === chunk.length;
    payload.set(isWhole ? chunk : chunk.subarray(offset, offset + taken), this.#payloadFilled);
    this.#payloadFilled += taken;
    if (this.#payloadFilled === payload.length) this.#emit();
    return taken;
  }

  #emit(): void {
    const payload = this.#payload as Uint8Array;
    this.#payload = undefined;
    this.#headerFilled = 0;
    this.#onFrame(
      this.#headerBytes[2] as number,
      this.#headerBytes[3] as number,
      this.#header.getUint32(4, true),
      payload,
    );
  }
}
