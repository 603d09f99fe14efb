import { resolve } from "node:path";
import { isUri } from "@shardserve/object-store";
import type { Registry } from "@shardserve/registry";
import type { Terminal } from "../../command.js";
import { flag } from "../../flags.js";
import { announceNews } from "./announce-news.js";
import type { EpochPlaces } from "./epoch-place.js";
import { FolderPlaces } from "./folder-place.js";
import { StoredPlaces } from "./stored-places.js";

/** Flags of commands that write epochs. */
export const EPOCH_FLAGS = {
  modelRepository: flag.text(
    "BASE of the version directories BASE/NAME/VERSION, a folder, s3:// or gs://; it is written to",
    "DIR|URI",
  ),
  stagingDir: flag.text(
    "folder of this process alone where epochs for s3:// or gs:// are written first; it needs room for two folds; default ~/.cache/shardserve/exports",
    "DIR",
    "",
  ),
};

/**
 * @param command  that writes them
 * @param registry  through which the leader is told of them, where it does not see a folder
 * @throws ServingError CONFIG_INVALID when another process of this machine has the folder for copies; INVALID_ARGUMENT
 */
export async function openPlaces(
  { modelRepository, stagingDir }: { readonly modelRepository: string; readonly stagingDir: string },
  command: string,
  registry: Registry,
  terminal: Pick<Terminal, "environment" | "logger">,
): Promise<EpochPlaces> {
  if (!isUri(modelRepository)) return new FolderPlaces(resolve(modelRepository));
  const announce = (signal: AbortSignal) => announceNews(registry, terminal.logger, signal);
  return StoredPlaces.take(modelRepository, stagingDir, command, announce, terminal);
}
