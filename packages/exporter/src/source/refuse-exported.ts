import { access } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { MANIFEST_FILE } from "@shardserve/rowstore";

/**
 * An exported version is no source: most of its rows lie in partitions, so that its checkpoint would look damaged.
 *
 * @throws ServingError CONFIG_INVALID when `dir` is one
 */
export async function refuseExported(dir: string): Promise<void> {
  const isExported = await access(join(dir, MANIFEST_FILE)).then(
    () => true,
    () => false,
  );
  if (!isExported) return;
  throw new ServingError(
    "CONFIG_INVALID",
    `${dir} is an exported version (${MANIFEST_FILE}), whose rows lie in partitions; name the model that it was exported from`,
  );
}
