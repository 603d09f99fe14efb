import { invariant } from "@shardserve/core";

const CLASS_BYTES_MIN = 4 * 1024;
const USERS = Symbol("users");

/** A block that a pool made; the count of its users is kept on the block itself: a WeakMap of thousands costs more to collect. */
interface PooledBlock extends ArrayBuffer {
  /** Who may still read it; 0 = free. */
  [USERS]?: number;
}

/**
 * Recycles buffers. A fresh megabyte costs page faults that exceed the copy made into it, and a fresh 8 KiB more in
 * allocation and collection than its reply's whole way; so payloads of 4 KiB and more come from here, smaller ones from
 * Node's own pool.
 *
 * Size classes are powers of two. What is never released is collected as usual; what is released must not be touched again.
 */
export class BufferPool {
  readonly #retainedBytesMax: number;
  /** Free blocks by the logarithm of their size. */
  readonly #free: PooledBlock[][] = [];
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
    const classLog2 = 32 - Math.clz32(bytes - 1);
    let block = this.#free[classLog2]?.pop();
    if (block !== undefined) this.#retainedBytes -= block.byteLength;
    else block = Buffer.allocUnsafeSlow(2 ** classLog2).buffer;
    block[USERS] = 1;
    return new Uint8Array(block, 0, bytes);
  }

  /** Counts one more user of the block under `view`, who releases it too: it is free when the last one did. */
  share(view: Uint8Array): void {
    const block: PooledBlock = view.buffer as ArrayBuffer;
    const users = block[USERS];
    invariant(users !== undefined && users > 0, "only a block that is in use can be shared");
    block[USERS] = users + 1;
  }

  /** How many may still read the block under `view`; 0 for memory from elsewhere. */
  users(view: Uint8Array): number {
    return (view.buffer as PooledBlock)[USERS] ?? 0;
  }

  /** Takes back what `acquire` gave, or a part of it; memory from elsewhere is ignored. */
  release(view: Uint8Array): void {
    const block: PooledBlock = view.buffer as ArrayBuffer;
    const users = block[USERS];
    if (users === undefined) return;
    invariant(users > 0, "a pooled buffer was released twice");
    block[USERS] = users - 1;
    if (users > 1) return;
    const classBytes = block.byteLength;
    if (this.#retainedBytes + classBytes > this.#retainedBytesMax) {
      delete block[USERS]; // from now on it is the collector's
      return;
    }
    this.#retainedBytes += classBytes;
    (this.#free[31 - Math.clz32(classBytes)] ??= []).push(block);
  }
}
