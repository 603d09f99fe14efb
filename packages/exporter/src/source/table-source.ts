import { type FileHandle, open } from "node:fs/promises";
import { readAt, ServingError } from "@shardserve/core";
import { checksum, maskChecksum } from "@shardserve/savedmodel";
import type { SourceTensors, StoredPart } from "./export-source.js";
import { StreamedBytes } from "./streamed-bytes.js";

/** Bytes read and checksummed at a time: one checksum call of 4 MiB takes half a millisecond. */
const SLICE_BYTES = 4 * 2 ** 20;

/** Where a {@link TableSource} stands: plain data for the journal. */
export interface TableSourceState {
  /** Bytes of the tensor read so far. */
  readonly byteOffset: number;
  /** crc32c of the current stored part up to there. */
  readonly crc: number;
}

/**
 * Reads one tensor of a model from front to back and verifies the checksum of every stored part as it ends, if it has one.
 * A partitioned variable is read as one tensor; one that is cut across its rows (a table partitioned by columns, or what a policy that
 * bounds the size of checkpoint files makes of a row) begins anew when an export goes on: its checksums are those of whole slices.
 */
export class TableSource implements AsyncDisposable {
  readonly #key: string;
  readonly #parts: readonly StoredPart[];
  readonly #streamed: StreamedBytes | undefined;
  #byteOffset: number;
  #crc: number;
  #file: { readonly path: string; readonly handle: FileHandle } | undefined;

  constructor(tensors: SourceTensors, checkpointKey: string, from: TableSourceState = { byteOffset: 0, crc: 0 }) {
    this.#key = checkpointKey;
    const parts = tensors.parts(checkpointKey);
    this.#parts = parts ?? [];
    this.#streamed = parts ? undefined : new StreamedBytes(tensors.stream(checkpointKey), from.byteOffset);
    this.#byteOffset = from.byteOffset;
    this.#crc = from.crc;
  }

  get state(): TableSourceState {
    return { byteOffset: this.#byteOffset, crc: this.#crc };
  }

  /**
   * Fills `target` with the next bytes.
   *
   * @throws ServingError CHECKSUM_MISMATCH naming variable, file and offset; CHECKPOINT_INVALID when the file is cut off
   */
  async read(target: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (this.#streamed) {
      await this.#streamed.read(target, signal);
      this.#byteOffset += target.length;
      return;
    }
    for (let filled = 0; filled < target.length; ) {
      signal?.throwIfAborted();
      const part = this.#parts.find(({ byteStart, size }) => this.#byteOffset < byteStart + size)!;
      const done = this.#byteOffset - part.byteStart;
      const length = Math.min(SLICE_BYTES, target.length - filled, part.size - done);
      const slice = target.subarray(filled, filled + length);
      await this.#readSlice(part, part.offset + done, slice);
      this.#crc = checksum(slice, this.#crc);
      this.#byteOffset += length;
      filled += length;
      if (done + length === part.size) this.#verify(part);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#streamed?.close();
    await this.#file?.handle.close();
    this.#file = undefined;
  }

  async #readSlice(part: StoredPart, offset: number, slice: Uint8Array): Promise<void> {
    if (this.#file?.path !== part.path) {
      await this[Symbol.asyncDispose]();
      this.#file = { path: part.path, handle: await open(part.path) };
    }
    const count = await readAt(this.#file.handle, slice, offset);
    if (count === slice.length) return;
    throw new ServingError("CHECKPOINT_INVALID", `${part.path} ends at byte ${offset + count}; "${this.#key}" goes on`);
  }

  #verify(part: StoredPart): void {
    const masked = maskChecksum(this.#crc);
    this.#crc = 0;
    if (part.crc32c === undefined || masked === part.crc32c) return;
    throw new ServingError(
      "CHECKSUM_MISMATCH",
      `variable "${this.#key}": ${part.size} bytes at offset ${part.offset} of ${part.path} do not match their checksum; copy the model again`,
      { details: { checkpointKey: this.#key, path: part.path, offset: part.offset } },
    );
  }
}
