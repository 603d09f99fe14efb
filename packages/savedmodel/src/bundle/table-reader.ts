/**
 * Reads a LevelDB table (sstable), the format of `variables.index`: data blocks of prefix-compressed keys, an index
 * block that points at them, a footer that points at the index (leveldb doc/table_format.md; tensorflow/core/lib/io/
 * table.cc). Every block carries a checksum, which is always verified.
 */
import { setImmediate } from "node:timers/promises";
import { isServingError, ServingError } from "@shardserve/core";
import { WireReader } from "@shardserve/tensor";
import { checksum, maskChecksum } from "./checksum.js";
import { snappyUncompress } from "./snappy.js";

const FOOTER_BYTES = 48;
const MAGIC = 0xdb4775248b80fb57n;
const BLOCK_TRAILER_BYTES = 5;
/** Prefix compression lets n bytes name n/3 keys of any length: keys of one table may take this many bytes together. */
const KEY_BYTES_MAX = 256 * 2 ** 20;

/** One key and its value; both are valid as long as the table's bytes. `offset` is the block's, for messages. */
export interface TableEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly offset: number;
}

/**
 * The entries of a table in key order, strictly ascending. Yields to the event loop between blocks. Allocates at most
 * 22 times the table's size for compressed blocks, and 256 MiB for keys.
 *
 * @param file   where the bytes come from, for messages
 * @throws ServingError CHECKPOINT_INVALID or CHECKSUM_MISMATCH naming file and offset
 */
export async function* readTable(file: string, bytes: Uint8Array, signal?: AbortSignal): AsyncGenerator<TableEntry> {
  const table = new Table(file, bytes);
  let previous: Uint8Array | undefined;
  for (const index of table.entries(table.indexHandle())) {
    signal?.throwIfAborted();
    for (const entry of table.entries(table.handle(new WireReader(index.value), index.offset))) {
      if (previous && Buffer.compare(previous, entry.key) >= 0) {
        throw table.invalid(entry.offset, "keys are not in ascending order");
      }
      previous = entry.key;
      yield entry;
    }
    await setImmediate();
  }
}

interface BlockHandle {
  readonly offset: number;
  readonly size: number;
}

class Table {
  readonly #file: string;
  readonly #bytes: Uint8Array;
  #keyBytes = 0;

  constructor(file: string, bytes: Uint8Array) {
    this.#file = file;
    this.#bytes = bytes;
  }

  invalid(offset: number, what: string): ServingError {
    return new ServingError("CHECKPOINT_INVALID", `${this.#file}, byte ${offset}: ${what}; export the model again`);
  }

  indexHandle(): BlockHandle {
    const start = this.#bytes.length - FOOTER_BYTES;
    if (start < 0) throw this.invalid(0, `${this.#bytes.length} bytes are too few for a checkpoint index`);
    const footer = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, FOOTER_BYTES);
    if (footer.readBigUInt64LE(40) !== MAGIC) {
      throw this.invalid(start + 40, "the magic number of a checkpoint index is missing");
    }
    const reader = new WireReader(footer, 0, 40);
    this.handle(reader, start); // the metaindex, which TensorFlow leaves empty
    return this.handle(reader, start);
  }

  handle(reader: WireReader, at: number): BlockHandle {
    let handle: BlockHandle;
    try {
      handle = { offset: reader.varint(), size: reader.varint() };
    } catch (cause) {
      throw new ServingError("CHECKPOINT_INVALID", `${this.#file}, byte ${at}: a block handle cannot be read`, {
        cause,
      });
    }
    if (handle.offset + handle.size + BLOCK_TRAILER_BYTES > this.#bytes.length) {
      throw this.invalid(at, `a block of ${handle.size} bytes at ${handle.offset} lies beyond the file's end`);
    }
    return handle;
  }

  *entries(handle: BlockHandle): Generator<TableEntry> {
    const block = this.#block(handle);
    const tail = new DataView(block.buffer, block.byteOffset, block.byteLength);
    const restartCount = block.length >= 4 ? tail.getUint32(block.length - 4, true) : 0;
    const end = block.length - 4 - 4 * restartCount;
    if (restartCount === 0 || end < 0) throw this.invalid(handle.offset, "a block without restart points");
    const reader = new WireReader(block, 0, end);
    let key: Uint8Array = new Uint8Array();
    while (reader.position < end) {
      const entry = this.#entry(reader, key, handle.offset);
      key = entry.key;
      yield entry;
    }
  }

  #entry(reader: WireReader, previous: Uint8Array, blockOffset: number): TableEntry {
    try {
      const shared = reader.varint();
      const unshared = reader.varint();
      const valueLength = reader.varint();
      const start = reader.position;
      if (shared > previous.length || unshared + valueLength > reader.end - start) {
        throw this.invalid(blockOffset, `the entry at byte ${start} of a block exceeds it`);
      }
      this.#keyBytes += shared + unshared;
      if (this.#keyBytes > KEY_BYTES_MAX) throw this.invalid(blockOffset, `keys take more than ${KEY_BYTES_MAX} bytes`);
      const key = new Uint8Array(shared + unshared);
      key.set(previous.subarray(0, shared));
      key.set(reader.bytes.subarray(start, start + unshared), shared);
      reader.position = start + unshared + valueLength;
      return { key, value: reader.bytes.subarray(start + unshared, reader.position), offset: blockOffset };
    } catch (cause) {
      if (isServingError(cause, "CHECKPOINT_INVALID")) throw cause;
      throw new ServingError("CHECKPOINT_INVALID", `${this.#file}, byte ${blockOffset}: a block's entry is cut off`, {
        cause,
      });
    }
  }

  #block({ offset, size }: BlockHandle): Uint8Array {
    const stored = this.#bytes.subarray(offset, offset + size + 1); // data and the type of compression
    const trailer = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + offset + size + 1, 4);
    if (maskChecksum(checksum(stored)) !== trailer.getUint32(0, true)) {
      throw new ServingError(
        "CHECKSUM_MISMATCH",
        `${this.#file}, byte ${offset}: a block of ${size} bytes does not match its checksum; copy the file again`,
      );
    }
    const data = stored.subarray(0, size);
    if (stored[size] === 0) return data;
    if (stored[size] !== 1) throw this.invalid(offset + size, `unknown block compression ${stored[size]}`);
    try {
      return snappyUncompress(data);
    } catch (cause) {
      throw new ServingError("CHECKPOINT_INVALID", `${this.#file}, byte ${offset}: a snappy block is broken`, {
        cause,
      });
    }
  }
}
