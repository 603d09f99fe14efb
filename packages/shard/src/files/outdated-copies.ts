import { rm } from "node:fs/promises";
import { join } from "node:path";
import { EPOCH_FOLDERS, type Manifest } from "@shardserve/rowstore";

/**
 * Removes copies that a version's manifest before named and the one now does not, or with another content, and all deltas: they
 * change another version. One that grows goes as well; it would go on with bytes of another file.
 *
 * @param directory  of the copies; its manifest is not touched
 * @returns files of the manifest that had to go, whether or not they were copied
 */
export async function removeOutdated(directory: string, before: Manifest, now: Manifest): Promise<number> {
  const digests = new Map(now.files.map(({ path, digest }) => [path, digest]));
  const outdated = before.files.filter(({ path, digest }) => digests.get(path) !== digest);
  for (const { path } of outdated)
    for (const name of [path, `${path}.part`]) await rm(join(directory, name), { force: true });
  for (const folder of EPOCH_FOLDERS) await rm(join(directory, folder), { recursive: true, force: true });
  return outdated.length;
}
