import { link, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import {
  type FinishedPartition,
  PartitionFile,
  partitionDigestOf,
  partitionPath,
  readManifest,
} from "@shardserve/rowstore";

/**
 * Replaces partition files that another version has byte for byte by links to that version's: a version of which few
 * partitions changed costs only those, on the disk and, since the system keeps one copy of a file in memory, on the shards.
 * Where links cannot be made (another disk, a file system without them) the copy stays.
 *
 * @param dir         of the new version, not yet published
 * @param partitions  what was written there, by partition
 * @returns number of files shared
 */
export async function shareFiles(
  versionDir: string,
  dir: string,
  partitions: readonly FinishedPartition[],
): Promise<number> {
  const base = await readManifest(versionDir);
  if (base?.manifest.partitionCount !== partitions.length || base.manifest.tables.length === 0) return 0;
  let shared = 0;
  for (const [partition, { digest }] of partitions.entries()) {
    if (partitionDigestOf(base.manifest, partition) !== digest) continue;
    const theirs = join(versionDir, partitionPath(partition));
    if (!(await hasDigest(theirs, digest))) continue;
    const ours = join(dir, partitionPath(partition));
    try {
      await link(theirs, `${ours}.link`);
      await rename(`${ours}.link`, ours);
      await unlink(`${ours}.link`).catch(() => undefined); // a rename onto the same file leaves both names
      shared++;
    } catch (error) {
      if (["EXDEV", "EPERM", "EMLINK", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) return shared;
      throw error;
    }
  }
  return shared;
}

/** A file that was cut off or overwritten since is not worth sharing; its blocks are verified when it is loaded. */
async function hasDigest(path: string, digest: string): Promise<boolean> {
  try {
    const file = await PartitionFile.open(path);
    await file.close();
    return file.digest === digest;
  } catch {
    return false; // absent or damaged: the version keeps its own copy
  }
}
