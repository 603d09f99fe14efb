import { open } from "node:fs/promises";
import { digestHex } from "../partition/partition-format.js";
import { BLOCK_BYTES } from "../partition/partition-layout.js";

/**
 * Digest of a file of any size: xxh3-128 over the xxh3-128 digests (as hex) of its blocks of 1 MiB, so that a reader
 * needs one block of memory.
 *
 * @returns 32 lowercase hex digits
 */
export async function fileDigest(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<string> {
  const block = Buffer.alloc(BLOCK_BYTES);
  const digests: string[] = [];
  const handle = await open(path);
  try {
    for (;;) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await handle.read(block, 0, BLOCK_BYTES);
      if (bytesRead === 0) return digestHex(Buffer.from(digests.join("")));
      digests.push(digestHex(block.subarray(0, bytesRead)));
    }
  } finally {
    await handle.close();
  }
}
