import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { DeltaFile, epochPath, type EpochRef, fileDigest, type StoredManifest } from "@shardserve/rowstore";

/**
 * Reads a fold as a whole: manifest, rows of all partitions, dense files.
 *
 * @param ref  what it must be
 * @throws ServingError NOT_FOUND, DELTA_INVALID, DIGEST_MISMATCH, CHECKSUM_MISMATCH naming what is damaged
 */
export async function proveFold(
  versionDir: string,
  base: StoredManifest,
  ref: EpochRef,
  signal?: AbortSignal,
): Promise<void> {
  const directory = join(versionDir, epochPath(ref));
  await using file = await DeltaFile.open(directory, base.manifest.tables);
  if (file.digest !== ref.digest || file.fold !== ref.fold)
    throw new ServingError(
      "DIGEST_MISMATCH",
      `${directory}: its manifest has digest ${file.fold ?? file.digest}, ${ref.fold ?? ref.digest} is in force`,
    );
  for (const partition of file.partitions) {
    const segment = await file.segment(partition);
    if (segment) await file.readRows(segment, () => undefined, { signal });
  }
  for (const { path, digest } of file.manifest.files) {
    const found = await fileDigest(join(directory, path)).catch((cause: unknown) => {
      throw new ServingError("NOT_FOUND", `cannot read ${join(directory, path)}: ${(cause as Error).message}`, {
        cause,
      });
    });
    if (found !== digest)
      throw new ServingError(
        "CHECKSUM_MISMATCH",
        `${join(directory, path)} has digest ${found}, the manifest says ${digest}`,
      );
  }
}
