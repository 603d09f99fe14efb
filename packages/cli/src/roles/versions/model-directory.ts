import { homedir } from "node:os";
import { join } from "node:path";
import { isUri, Stores, VersionCache } from "@shardserve/object-store";
import type { Terminal } from "../../command.js";
import { flag, type FlagValues } from "../../flags.js";

/** Of commands that read one model, wherever it is. */
export const MODEL_SOURCE_FLAGS = {
  modelCacheDir: flag.text(
    "where a model from s3:// or gs:// is kept; a folder of this process alone; default ~/.cache/shardserve/sources",
    "DIR",
    "",
  ),
  modelCacheBytes: flag.bytes("what such models may take there; those used longest ago go first", 100 * 2 ** 30),
  downloadBytesPerSecond: flag.bytes("rate of downloads from object stores; 0 = not limited", 0),
};

/**
 * Calls with the directory of a model: its path, or where it lies on this machine once it is downloaded.
 *
 * @throws ServingError when it cannot be downloaded
 */
export async function withModelDirectory(
  path: string,
  flags: Readonly<FlagValues<typeof MODEL_SOURCE_FLAGS>>,
  { environment, logger, signal }: Pick<Terminal, "environment" | "logger" | "signal">,
  use: (dir: string) => Promise<void>,
): Promise<void> {
  if (!isUri(path)) return use(path);
  const stores = new Stores(environment);
  try {
    const cache = await VersionCache.open({
      stores,
      dir: flags.modelCacheDir || join(homedir(), ".cache/shardserve/sources"),
      limitBytes: flags.modelCacheBytes,
      bytesPerSecond: flags.downloadBytesPerSecond || Number.POSITIVE_INFINITY,
      logger,
    });
    try {
      const { dir, release } = await cache.acquire(path, signal);
      await use(dir).finally(release);
    } finally {
      await cache.close();
    }
  } finally {
    await stores.close();
  }
}
