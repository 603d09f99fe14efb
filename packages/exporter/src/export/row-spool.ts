import { type FileHandle, open, unlink } from "node:fs/promises";
import { readAt } from "@shardserve/core";

const BUFFER_BYTES = 4 * 2 ** 20;
const HEAD_BYTES = 16;

/** One piece of rows in a spool. */
export interface SpooledRows {
  readonly table: number;
  readonly partition: number;
  readonly positions: Uint32Array;
  readonly rows: Uint8Array;
}

/**
 * A file that keeps rows between two passes, in the order in which they came: how many there are decides where each
 * belongs in the delta, and is known only after the last.
 */
export class RowSpool implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #bytes = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  static async create(path: string): Promise<RowSpool> {
    return new RowSpool(path, await open(path, "w+"));
  }

  async add({ table, partition, positions, rows }: SpooledRows): Promise<void> {
    const head = Uint32Array.of(table, partition, positions.length, rows.length);
    await this.#append(new Uint8Array(head.buffer));
    await this.#append(new Uint8Array(positions.buffer, positions.byteOffset, positions.byteLength));
    await this.#append(rows);
  }

  /** Everything again, in order. Nothing may be added any more. */
  async *read(): AsyncGenerator<SpooledRows> {
    await this.#flush();
    for (let at = 0; at < this.#bytes; ) {
      const head = new Uint32Array(HEAD_BYTES / 4);
      at += await this.#readInto(new Uint8Array(head.buffer), at);
      const [table, partition, count, bytes] = head as unknown as [number, number, number, number];
      const positions = new Uint32Array(count);
      at += await this.#readInto(new Uint8Array(positions.buffer), at);
      const rows = new Uint8Array(bytes);
      at += await this.#readInto(rows, at);
      yield { table, partition, positions, rows };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
    await unlink(this.#path).catch(() => undefined); // its folder is removed with it, or it is gone already
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === BUFFER_BYTES) await this.#flush();
      const length = Math.min(BUFFER_BYTES - this.#filled, bytes.length - at);
      this.#buffer.set(bytes.subarray(at, at + length), this.#filled);
      this.#filled += length;
      at += length;
    }
    this.#bytes += bytes.length;
  }

  async #flush(): Promise<void> {
    for (let at = 0; at < this.#filled; )
      at += (await this.#file.write(this.#buffer, at, this.#filled - at)).bytesWritten;
    this.#filled = 0;
  }

  async #readInto(into: Uint8Array, offset: number): Promise<number> {
    const count = await readAt(this.#file, into, offset);
    if (count < into.length) throw new Error(`${this.#path} ends at ${offset + count}`);
    return count;
  }
}
