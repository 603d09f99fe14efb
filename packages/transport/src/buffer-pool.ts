import { invariant } from "@shardserve/core";

const CLASS_BYTES_MIN = 64 * 1024;

/**
 * Recycles large buffers. A fresh megabyte costs page faults and zeroing that exceed the copy made into it, so payloads
 * of 64 KiB and more come from here; smaller ones come from Node's own pool.
 *
 * Size classes are powers of two. What is never released is collected as usual; what is released must not be touched again.
 */
export class BufferPool {
  readonly #retainedBytesMax: number;
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #isFree = new WeakSet<ArrayBufferLike>();
  #retainedBytes = 0;

  /** @param retainedBytesMax  bytes kept for reuse at most; what is released above that is left to the collector */
  constructor(retainedBytesMax = 256 * 2 ** 20) {
    this.#retainedBytesMax = retainedBytesMax;
  }

  get retainedBytes(): number {
    return this.#retainedBytes;
  }

  /** A view of exactly `bytes` bytes, 8-aligned, contents undefined. */
  acquire(bytes: number): Uint8Array {
    if (bytes < CLASS_BYTES_MIN) return Buffer.allocUnsafe(bytes);
    const classBytes = 2 ** Math.ceil(Math.log2(bytes));
    const block = this.#free.get(classBytes)?.pop();
    if (block !== undefined) {
      this.#retainedBytes -= classBytes;
      this.#isFree.delete(block);
      return new Uint8Array(block, 0, bytes);
    }
    const fresh = Buffer.allocUnsafeSlow(classBytes);
    return new Uint8Array(fresh.buffer, 0, bytes);
  }

  /** Takes back what `acquire` gave; a small buffer is ignored. */
  release(view: Uint8Array): void {
    const block = view.buffer;
    const classBytes = block.byteLength;
    if (view.byteLength < CLASS_BYTES_MIN || !(block instanceof ArrayBuffer)) return;
    invariant(!this.#isFree.has(block), "a pooled buffer was released twice");
    if (this.#retainedBytes + classBytes > this.#retainedBytesMax) return;
    this.#isFree.add(block);
    this.#retainedBytes += classBytes;
    const list = this.#free.get(classBytes);
    if (list === undefined) this.#free.set(classBytes, [block]);
    else list.push(block);
  }
}
