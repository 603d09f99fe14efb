import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@shardserve/core";
import { filesBelow } from "../files-below.js";

const BLOCK_BYTES = 512;

/**
 * Warns where a disk has less room than what is to be written into a folder: hours of an export would end with a full disk. No reason to
 * refuse: a file system may compress, or have a quota of its own. Nor is it one that nobody can tell: calls of network mounts fail now and
 * then, and a failed export loses what it wrote.
 *
 * @param neededBytes  of all that will lie there, what is there already included
 */
export async function warnOfRoom(dir: string, neededBytes: number, logger: Logger): Promise<void> {
  try {
    const { bavail, bsize } = await statfs(dir);
    const freeBytes = bavail * bsize;
    const leftBytes = neededBytes - (await bytesBelow(dir));
    if (freeBytes < leftBytes)
      logger.warn({ path: dir, leftBytes, freeBytes }, "the disk has less room than what is left to write");
  } catch (error) {
    logger.info({ path: dir, err: error }, "how much room the disk has is not known");
  }
}

/** What the files below a folder take on the disk. */
async function bytesBelow(dir: string): Promise<number> {
  let bytes = 0;
  for (const { path } of await filesBelow(dir)) bytes += (await stat(join(dir, path))).blocks * BLOCK_BYTES;
  return bytes;
}
