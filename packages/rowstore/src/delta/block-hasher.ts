import { xxh3 } from "@node-rs/xxhash";
import { BLOCK_BYTES } from "../partition/partition-layout.js";

/** Checksums of a segment's blocks, from its data in pieces of any size; 1 MiB of memory at most is hashed at a time. */
export class BlockHasher {
  readonly #digests: bigint[] = [];
  readonly #block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #filled = 0;

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(BLOCK_BYTES - this.#filled, bytes.length - at);
      this.#block.set(bytes.subarray(at, at + length), this.#filled);
      this.#filled += length;
      at += length;
      if (this.#filled === BLOCK_BYTES) this.#end();
    }
  }

  /** The checksums as they stand in the file; then it can be used again. */
  finish(): Uint8Array {
    if (this.#filled > 0) this.#end();
    return new Uint8Array(BigUint64Array.from(this.#digests.splice(0)).buffer);
  }

  #end(): void {
    this.#digests.push(xxh3.xxh64(this.#block.subarray(0, this.#filled)));
    this.#filled = 0;
  }
}
