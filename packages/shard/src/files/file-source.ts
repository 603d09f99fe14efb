import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";

/** Bytes that are asked for at once. */
export const PIECE_BYTES = 2 ** 20;

/** A file somewhere, open for reading. */
export interface OpenSource extends AsyncDisposable {
  readonly size: number;
  /** At most `length` bytes from `offset` on; none only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Who may have the files of a version. */
export interface FileSource {
  /** For logs and errors. */
  readonly name: string;
  readonly kind: "peer" | "repository";
  /** @throws ServingError when it has not got it, or is not there */
  open(path: string, signal: AbortSignal): Promise<OpenSource>;
}

/** A version directory of the model repository. */
export class RepositorySource implements FileSource {
  readonly name = "the model repository";
  readonly kind = "repository";
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async open(path: string): Promise<OpenSource> {
    const handle = await openFile(join(this.#directory, path));
    const { size } = await handle.stat();
    return {
      size,
      read: (offset, length) => readPiece(handle, offset, length),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  }
}

/** @throws ServingError NOT_FOUND */
export async function openFile(path: string): Promise<FileHandle> {
  return open(path, "r").catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `cannot read ${path}: ${(cause as Error).message}`, { cause });
  });
}

export async function readPiece(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafeSlow(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

/** Part of a file, as a file. @throws ServingError NOT_FOUND when the file does not reach so far; it is closed then */
export async function sliceOf(whole: OpenSource, offset: number, size: number): Promise<OpenSource> {
  if (whole.size >= offset + size) {
    return {
      size,
      read: (at, length) => whole.read(offset + at, Math.min(length, size - at)),
      [Symbol.asyncDispose]: () => whole[Symbol.asyncDispose](),
    };
  }
  await whole[Symbol.asyncDispose]();
  throw new ServingError("NOT_FOUND", `it has ${whole.size} bytes, ${offset + size} are needed`);
}
