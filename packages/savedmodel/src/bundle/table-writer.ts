/** Writes what {@link readTable} reads: blocks as TensorFlow's TableBuilder lays them out, uncompressed. */
import { invariant } from "@shardserve/core";
import { checksum, maskChecksum } from "./checksum.js";
import { varint } from "./varint.js";

const BLOCK_BYTES = 256 * 1024;
const RESTART_INTERVAL = 16;
const MAGIC = 0xdb4775248b80fb57n;

export interface TableWriterOptions {
  /** Block size at which the next block starts, in bytes; default 256 KiB, TensorFlow's. */
  readonly blockBytes?: number;
  /** Compresses one block; the result is marked as snappy. TensorFlow writes none. */
  readonly compress?: (block: Uint8Array) => Uint8Array;
}

/** Collects entries, in ascending key order, and gives the table's bytes. */
export class TableWriter {
  readonly #options: TableWriterOptions;
  readonly #chunks: Uint8Array[] = [];
  readonly #index = new BlockBuilder(1);
  #block = new BlockBuilder(RESTART_INTERVAL);
  #offset = 0;

  constructor(options: TableWriterOptions = {}) {
    this.#options = options;
  }

  add(key: Uint8Array, value: Uint8Array): void {
    this.#block.add(key, value);
    if (this.#block.byteLength >= (this.#options.blockBytes ?? BLOCK_BYTES)) this.#flush();
  }

  finish(): Uint8Array {
    if (!this.#block.isEmpty) this.#flush();
    const metaindex = this.#append(new BlockBuilder(1));
    const index = this.#append(this.#index);
    const footer = Buffer.alloc(48);
    footer.set([...metaindex, ...index]);
    footer.writeBigUInt64LE(MAGIC, 40);
    this.#chunks.push(footer);
    return Buffer.concat(this.#chunks);
  }

  #flush(): void {
    const lastKey = this.#block.lastKey;
    this.#index.add(lastKey, Uint8Array.from(this.#append(this.#block)));
    this.#block = new BlockBuilder(RESTART_INTERVAL);
  }

  /** Writes a block and its trailer; returns its encoded handle. */
  #append(builder: BlockBuilder): number[] {
    const raw = builder.finish();
    const data = this.#options.compress?.(raw) ?? raw;
    const stored = Buffer.alloc(data.length + 5);
    stored.set(data);
    stored[data.length] = this.#options.compress ? 1 : 0;
    stored.writeUInt32LE(maskChecksum(checksum(stored.subarray(0, data.length + 1))), data.length + 1);
    const handle = [...varint(this.#offset), ...varint(data.length)];
    this.#chunks.push(stored);
    this.#offset += stored.length;
    return handle;
  }
}

class BlockBuilder {
  readonly #restartInterval: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #restarts: number[] = [0];
  #sinceRestart = 0;
  byteLength = 0;
  lastKey: Uint8Array = new Uint8Array();
  isEmpty = true;

  constructor(restartInterval: number) {
    this.#restartInterval = restartInterval;
  }

  add(key: Uint8Array, value: Uint8Array): void {
    invariant(this.isEmpty || Buffer.compare(this.lastKey, key) < 0, "table keys must ascend");
    let shared = 0;
    if (this.#sinceRestart === this.#restartInterval) {
      this.#restarts.push(this.byteLength);
      this.#sinceRestart = 0;
    } else {
      while (shared < key.length && shared < this.lastKey.length && key[shared] === this.lastKey[shared]) shared++;
    }
    const head = Uint8Array.from([...varint(shared), ...varint(key.length - shared), ...varint(value.length)]);
    for (const chunk of [head, key.subarray(shared), value]) {
      this.#chunks.push(chunk);
      this.byteLength += chunk.length;
    }
    this.#sinceRestart++;
    this.lastKey = key;
    this.isEmpty = false;
  }

  finish(): Uint8Array {
    const tail = Uint32Array.from([...this.#restarts, this.#restarts.length]);
    return Buffer.concat([...this.#chunks, new Uint8Array(tail.buffer)]);
  }
}
