import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@shardserve/core";
import { filesBelow } from "../files-below.js";

const BLOCK_BYTES = 512;

/**
 * Warns where a disk has less room than what is to be written into a folder: hours of an export would end with a full disk. No reason to
 * refuse: a file system may compress, or have a quota of its own.
 *
 * @param neededBytes  of all that will lie there, what is there already included
 */
export async function warnOfRoom(dir: string, neededBytes: number, logger: Logger): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  let thereBytes = 0;
  for (const { path } of await filesBelow(dir)) thereBytes += (await stat(join(dir, path))).blocks * BLOCK_BYTES;
  const leftBytes = neededBytes - thereBytes;
  const freeBytes = bavail * bsize;
  if (freeBytes < leftBytes)
    logger.warn({ path: dir, leftBytes, freeBytes }, "the disk has less room than what is left to write");
}
