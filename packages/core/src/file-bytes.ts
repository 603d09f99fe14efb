import type { FileHandle } from "node:fs/promises";

/*
 * Reads and writes at an offset that go on until all is done: one call of the system may do a part only.
 */

/**
 * Fills `into` with the bytes of a file from `offset` on, as far as the file goes.
 *
 * @returns bytes read: fewer than wanted only where the file ends; what lies behind them in `into` stays as it was
 */
export async function readAt(file: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all bytes to a file from `offset` on. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}
