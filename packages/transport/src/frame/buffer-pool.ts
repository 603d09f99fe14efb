import { invariant } from "@shardserve/core";

const CLASS_BYTES_MIN = 4 * 1024;
/** What smaller buffers are cut from. */
const SHARED_BYTES = 64 * 1024;
/** Where views begin at a multiple of this address, when the pool was told how to find it: a line of the CPU's cache. */
const ALIGNMENT_BYTES = 64;
const USERS = Symbol("users");
const START = Symbol("start");

/** A block that a pool made; the count of its users is kept on the block itself: a WeakMap of thousands costs more to collect. */
interface PooledBlock extends ArrayBuffer {
  /** Who may still read it; 0 = free. */
  [USERS]?: number;
  /** Offset of the views. */
  [START]?: number;
}

/** How much a pool keeps, and how its buffers are aligned. */
export interface BufferPoolOptions {
  /** Bytes kept for reuse at most; what is released above that is left to the collector. Default 256 MiB. */
  readonly retainedBytesMax?: number;
  /**
   * Address of a view's first byte. With it, views of 4 KiB and more begin at a multiple of 64: rows that are copied to
   * another place cost up to a quarter more, as each of their stores touches two lines of the cache.
   */
  readonly addressOf?: (view: Uint8Array) => bigint;
}

/**
 * Recycles buffers. A fresh megabyte costs page faults that exceed the copy made into it, and a fresh 8 KiB more in
 * allocation and collection than its reply's whole way. Even those below 4 KiB, which are cut from a block in common: Node's
 * own pool makes a new one of 8 KiB for each seventeen requests of 26 ids.
 *
 * Size classes are powers of two. What is never released is collected as usual; what is released must not be touched again.
 */
export class BufferPool {
  readonly #retainedBytesMax: number;
  readonly #addressOf: BufferPoolOptions["addressOf"];
  /** Free blocks by the logarithm of their size. */
  readonly #free: PooledBlock[][] = [];
  #retainedBytes = 0;
  /** Small buffers are cut from it, from `#sharedAt` on; the pool is one of its users. */
  #shared: Uint8Array | undefined;
  #sharedAt = 0;

  constructor(options: BufferPoolOptions = {}) {
    this.#retainedBytesMax = options.retainedBytesMax ?? 256 * 2 ** 20;
    this.#addressOf = options.addressOf;
  }

  get retainedBytes(): number {
    return this.#retainedBytes;
  }

  /** A view of exactly `bytes` bytes, 8-aligned or better, contents undefined. */
  acquire(bytes: number): Uint8Array {
    if (bytes < CLASS_BYTES_MIN) return this.#cut(bytes);
    const classLog2 = 32 - Math.clz32(bytes - 1);
    let block = this.#free[classLog2]?.pop();
    if (block !== undefined) this.#retainedBytes -= 2 ** classLog2;
    else block = this.#allocate(2 ** classLog2);
    block[USERS] = 1;
    return new Uint8Array(block, block[START], bytes);
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
    const classLog2 = 31 - Math.clz32(block.byteLength); // of 2^n bytes, and some for the alignment
    const classBytes = 2 ** classLog2;
    if (this.#retainedBytes + classBytes > this.#retainedBytesMax) {
      delete block[USERS]; // from now on it is the collector's
      return;
    }
    this.#retainedBytes += classBytes;
    (this.#free[classLog2] ??= []).push(block);
  }

  #cut(bytes: number): Uint8Array {
    let shared = this.#shared;
    if (shared === undefined || this.#sharedAt + bytes > SHARED_BYTES) {
      if (shared !== undefined) this.release(shared);
      shared = this.#shared = this.acquire(SHARED_BYTES);
      this.#sharedAt = 0;
    }
    this.share(shared);
    const at = this.#sharedAt;
    this.#sharedAt = (at + bytes + 7) & ~7;
    return new Uint8Array(shared.buffer, shared.byteOffset + at, bytes);
  }

  #allocate(bytes: number): PooledBlock {
    if (!this.#addressOf) {
      const block: PooledBlock = Buffer.allocUnsafeSlow(bytes).buffer;
      block[START] = 0;
      return block;
    }
    const view = Buffer.allocUnsafeSlow(bytes + ALIGNMENT_BYTES);
    const block: PooledBlock = view.buffer;
    block[START] = Number(-this.#addressOf(view) & BigInt(ALIGNMENT_BYTES - 1));
    return block;
  }
}
