import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";

/**
 * The directory of a version: the child of BASE/NAME whose name is the number, leading zeros allowed.
 *
 * @throws ServingError NOT_FOUND when this machine's repository has no such version
 */
export async function versionDirectory(repository: string, model: string, version: number): Promise<string> {
  const base = join(repository, model);
  const names = await readdir(base).catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `${base} cannot be listed: ${(cause as Error).message}`, { cause });
  });
  const found = names.find((name) => /^\d+$/.test(name) && Number(name) === version);
  if (found === undefined)
    throw new ServingError("NOT_FOUND", `${base} has no version ${version}; is the model repository mounted here?`);
  return join(base, found);
}
