import { type FileHandle, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Clock, type Logger, RepeatedWork, ServingError } from "@shardserve/core";
import { checksum, maskChecksum } from "@shardserve/savedmodel";

/** Bytes that may wait for the disk; beyond, records are dropped: a slow disk must not take the memory or the time of requests. */
const QUEUE_BYTES_MAX = 16 * 2 ** 20;
const FILE_BYTES_MAX = 64 * 2 ** 20;

export interface RecordFileWriterOptions {
  readonly directory: string;
  /** What paths inside the directory begin with: PREFIX-20261128T170102Z-PID-N.tfrecord. */
  readonly prefix: string;
  readonly pid: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What became of a model's records that were taken: on disk, or lost. */
  readonly onSettled: (model: string, count: number, error: ServingError | undefined) => void;
  readonly queueBytesMax?: number;
  readonly fileBytesMax?: number;
}

/**
 * Appends records to TFRecord files (docs: warm-up/record-file.ts) beside the requests, and begins a new file when one is
 * large enough. An open file has the extension ".partial" until it is whole.
 */
export class RecordFileWriter {
  readonly #options: RecordFileWriterOptions;
  #queue: { readonly model: string; readonly bytes: Buffer }[] = [];
  #queuedBytes = 0;
  #file: FileHandle | null = null;
  #path = "";
  #fileBytes = 0;
  #sequence = 0;
  readonly #writes = new RepeatedWork(() => this.#drain());
  #hasComplained = false;

  constructor(options: RecordFileWriterOptions) {
    this.#options = options;
  }

  /**
   * @param model  whose record it is: several models may share a prefix
   * @returns false when too much waits already; the record is not taken then
   */
  write(model: string, record: Buffer): boolean {
    if (this.#queuedBytes + record.length > (this.#options.queueBytesMax ?? QUEUE_BYTES_MAX)) return false;
    this.#queue.push({ model, bytes: framed(record) });
    this.#queuedBytes += record.length;
    this.#writes.ask();
    return true;
  }

  /** Writes what waits and closes the file. */
  async close(): Promise<void> {
    await this.#writes.whenIdle();
    await this.#endFile().catch((error: unknown) => this.#complain(error));
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const records = this.#queue;
      this.#queue = [];
      let error: ServingError | undefined;
      try {
        await this.#append(Buffer.concat(records.map(({ bytes }) => bytes)));
        this.#hasComplained = false;
      } catch (reason) {
        error = this.#complain(reason);
        await this.#abandonFile().catch(() => undefined); // the first failure was reported
      }
      this.#queuedBytes = this.#queue.reduce((total, { bytes }) => total + bytes.length - FRAME_BYTES, 0);
      const counts = new Map<string, number>();
      for (const { model } of records) counts.set(model, (counts.get(model) ?? 0) + 1);
      for (const [model, count] of counts) this.#options.onSettled(model, count, error);
    }
  }

  async #append(bytes: Buffer): Promise<void> {
    if (!this.#file) {
      const { directory, prefix, pid, clock } = this.#options;
      const time = new Date(clock.wallMs()).toISOString().replaceAll(/[-:]|\.\d+/g, "");
      // Joined as a whole: the prefix "." or ".." alone would be the directory, or the one above it.
      this.#path = join(directory, `${prefix}-${time}-${pid}-${this.#sequence++}.tfrecord`);
      await mkdir(dirname(this.#path), { recursive: true });
      this.#file = await open(`${this.#path}.partial`, "wx");
      this.#fileBytes = 0;
    }
    await this.#file.writeFile(bytes);
    this.#fileBytes += bytes.length;
    if (this.#fileBytes >= (this.#options.fileBytesMax ?? FILE_BYTES_MAX)) await this.#endFile();
  }

  async #endFile(): Promise<void> {
    const file = this.#file;
    if (!file) return;
    this.#file = null;
    await file.close();
    await rename(`${this.#path}.partial`, this.#path);
  }

  /** After a failed write: keeps the whole records of the file, or leaves none. A full disk would gather an empty one with each try. */
  async #abandonFile(): Promise<void> {
    const file = this.#file;
    if (!file) return;
    this.#file = null;
    const wholeBytes = this.#fileBytes;
    try {
      await file.truncate(wholeBytes);
    } finally {
      await file.close();
    }
    const partial = `${this.#path}.partial`;
    await (wholeBytes > 0 ? rename(partial, this.#path) : unlink(partial));
  }

  #complain(reason: unknown): ServingError {
    const error = ServingError.from(reason);
    if (!this.#hasComplained) {
      this.#options.logger.error({ code: error.code, path: this.#path }, `requests are not logged: ${error.message}`);
    }
    this.#hasComplained = true;
    return error;
  }
}

const FRAME_BYTES = 16;

/** uint64 length, its masked crc32c, the data, its masked crc32c. */
function framed(record: Buffer): Buffer {
  const out = Buffer.allocUnsafe(record.length + FRAME_BYTES);
  out.writeUInt32LE(record.length, 0);
  out.writeUInt32LE(0, 4);
  out.writeUInt32LE(maskChecksum(checksum(out.subarray(0, 8))), 8);
  out.set(record, 12);
  out.writeUInt32LE(maskChecksum(checksum(record)), 12 + record.length);
  return out;
}
