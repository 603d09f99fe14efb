import { mkdir, open, readdir, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isOutOfRoom, ServingError } from "@shardserve/core";
import type { StoredObject } from "./object-store.js";

/** Files of a cache of versions on this machine's disk. */

/** Under its own name once it is whole. @throws ServingError CHECKSUM_MISMATCH when the length differs */
export async function writeFile(
  path: string,
  contents: AsyncIterable<Uint8Array>,
  { key, bytes }: StoredObject,
  uri: string,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const growing = `${path}.growing`;
  const file = await open(growing, "w");
  let written = 0;
  try {
    for await (const chunk of contents) {
      await file.write(chunk);
      written += chunk.byteLength;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  if (written !== bytes) {
    throw new ServingError("CHECKSUM_MISMATCH", `${uri}: ${key} has ${bytes} bytes, ${written} came`);
  }
  await rename(growing, path);
}

/** Errors of the disk say which one it is, and what to do. */
export function diskError(uri: string, dir: string, error: unknown): unknown {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (isOutOfRoom(error)) {
    const cure = "make room there, or lower --model-cache-bytes";
    return new ServingError("DISK_FULL", `${uri}: no room in ${dir}: ${message}; ${cure}`, { cause: error });
  }
  if (/^E(ACCES|PERM|ROFS|IO)$/.test(code)) {
    return new ServingError("FAILED_PRECONDITION", `${uri}: the cache ${dir} cannot be used: ${message}`, {
      cause: error,
    });
  }
  return error;
}

/** Whether a file is there with all its bytes. */
export async function isFinished(path: string, bytes: number): Promise<boolean> {
  return stat(path).then(
    ({ size }) => size === bytes,
    () => false, // not begun
  );
}

/** Bytes of all files below a folder. */
export async function bytesBelow(dir: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isDirectory()) total += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return total;
}
