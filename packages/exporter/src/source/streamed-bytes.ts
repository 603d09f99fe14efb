import { ServingError } from "@shardserve/core";

/** Fills buffers of any size from a stream of chunks. */
export class StreamedBytes {
  readonly #stream: AsyncGenerator<Uint8Array>;
  /** Bytes to leave out in front. */
  #skip: number;
  #chunk: Uint8Array = new Uint8Array(0);

  /** @param skip  bytes at the beginning that are read and thrown away */
  constructor(stream: AsyncGenerator<Uint8Array>, skip: number) {
    this.#stream = stream;
    this.#skip = skip;
  }

  /** @throws ServingError CHECKPOINT_INVALID where the stream ends before the buffer is full; what the stream throws */
  async read(target: Uint8Array, signal?: AbortSignal): Promise<void> {
    for (let filled = 0; filled < target.length; ) {
      signal?.throwIfAborted();
      if (this.#chunk.length === 0) await this.#next();
      const dropped = Math.min(this.#skip, this.#chunk.length);
      this.#skip -= dropped;
      const taken = this.#chunk.subarray(dropped, dropped + target.length - filled);
      target.set(taken, filled);
      filled += taken.length;
      this.#chunk = this.#chunk.subarray(dropped + taken.length);
    }
  }

  async close(): Promise<void> {
    await this.#stream.return(undefined);
  }

  async #next(): Promise<void> {
    const { done, value } = await this.#stream.next();
    if (done) throw new ServingError("CHECKPOINT_INVALID", "a tensor ends before its last row");
    this.#chunk = value;
  }
}
