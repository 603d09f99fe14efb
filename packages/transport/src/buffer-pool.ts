import { invariant } from "@shardserve/core";

const CLASS_BYTES_MIN = 4 * 1024;

/**
 * Recycles buffers. A fresh megabyte costs page faults that exceed the copy made into it, and a fresh 8 KiB more in
 * allocation and collection than its reply's whole way; so payloads of 4 KiB and more come from here, smaller ones from
 * Node's own pool.
 *
 * Size classes are powers of two. What is never released is collected as usual; what is released must not be touched again.
 */
export class BufferPool {
  readonly #retainedBytesMax: number;
  readonly #free = new Map<number, ArrayBuffer[]>();
  /** Every block made here: true while it is free. */
  readonly #blocks = new WeakMap<ArrayBufferLike, boolean>();
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
      this.#blocks.set(block, false);
      return new Uint8Array(block, 0, bytes);
    }
    const fresh = Buffer.allocUnsafeSlow(classBytes);
    this.#blocks.set(fresh.buffer, false);
    return new Uint8Array(fresh.buffer, 0, bytes);
  }

  /** Takes back what `acquire` gave, or a part of it; memory from elsewhere is ignored. */
  release(view: Uint8Array): void {
    const block = view.buffer;
    const isFree = this.#blocks.get(block);
    if (isFree === undefined || !(block instanceof ArrayBuffer)) return;
    invariant(!isFree, "a pooled buffer was released twice");
    const classBytes = block.byteLength;
    if (this.#retainedBytes + classBytes > this.#retainedBytesMax) {
      this.#blocks.delete(block);
      return;
    }
    this.#blocks.set(block, true);
    this.#retainedBytes += classBytes;
    const list = this.#free.get(classBytes);
    if (list === undefined) this.#free.set(classBytes, [block]);
    else list.push(block);
  }
}
