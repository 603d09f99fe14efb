import { open } from "node:fs/promises";
import { join } from "node:path";
import {
  type Clock,
  inParallel,
  isServingError,
  type Logger,
  type ProgressTask,
  ServingError,
  sleep,
} from "@shardserve/core";
import type { ObjectStore, StoreUri, Upload } from "@shardserve/object-store";
import type { LocalFile } from "../files-below.js";

/** Files that are put at the same time. */
export const PUTS_MAX = 4;
/** Tries of one file while the store is away, each of some seconds by itself; the pauses between them are about eight minutes. */
const TRIES_MAX = 14;
const PAUSE_FIRST_MS = 1_000;
const PAUSE_MAX_MS = 60_000;

/** Where files go, and what their objects are put with. */
export interface PutTarget {
  readonly store: ObjectStore;
  readonly place: StoreUri;
  /** The place, for errors. */
  readonly uri: string;
  readonly digest: string;
  readonly signal: AbortSignal | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Puts files, a few at a time. One that meets a store that is away is tried again for some minutes, with growing pauses.
 *
 * @returns bytes sent
 * @throws ServingError what the store's client reports; CHECKSUM_MISMATCH when a file became shorter; the signal's reason
 */
export async function putFiles(
  dir: string,
  files: readonly LocalFile[],
  target: PutTarget,
  task: ProgressTask,
): Promise<number> {
  let total = 0;
  await inParallel(files, PUTS_MAX, async (file) => {
    await putFile(join(dir, file.path), file, target, task);
    total += file.bytes;
  });
  return total;
}

async function putFile(file: string, { path, bytes }: LocalFile, target: PutTarget, task: ProgressTask): Promise<void> {
  const { store, place, digest, signal, clock, logger } = target;
  await using handle = await open(file);
  const read: Upload["read"] = async ({ offset, length }) => {
    const piece = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await handle.read(piece, 0, length, offset);
    if (bytesRead === length) return piece;
    throw new ServingError("CHECKSUM_MISMATCH", `${file} became shorter while it was put`);
  };
  let shownBytes = 0;
  for (let tries = 1; ; tries++) {
    let sentBytes = 0;
    const onSent = (more: number) => {
      sentBytes += more;
      if (sentBytes <= shownBytes) return; // sent again
      task.advance(sentBytes - shownBytes);
      shownBytes = sentBytes;
    };
    try {
      return await store.put(place, path, { bytes, digest, read, onSent }, signal);
    } catch (error) {
      if (!isServingError(error, "UNAVAILABLE") || tries === TRIES_MAX) throw error;
      const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (tries - 1));
      logger.warn({ path, pauseMs, error: error.message }, "the object store is away; trying again");
      await sleep(clock, pauseMs, signal);
    }
  }
}
