import { resolve } from "node:path";
import { BytePace, ServingError, systemClock } from "@shardserve/core";
import { isUri, Stores } from "@shardserve/object-store";
import type { Terminal } from "../../command.js";
import { flag, type FlagValues } from "../../flags.js";
import { StoredRepository } from "../versions/stored-repository.js";

/** Of processes that read a cluster's model repository, wherever it is. */
export const REPOSITORY_FLAGS = {
  modelRepository: flag.text("BASE of the version directories BASE/NAME/VERSION, a folder, s3:// or gs://", "DIR|URI"),
  downloadBytesPerSecond: flag.bytes("rate of downloads from s3:// and gs://; 0 = not limited", 0),
};

/** A model repository: a folder that every process sees, or a place in an object store. */
export interface ModelRepository {
  /** The folder's path, or the place's URI. */
  readonly base: string;
  /** The place in an object store; undefined = it is a folder. */
  readonly stored: StoredRepository | undefined;
}

/** @throws ServingError CONFIG_INVALID for an object store without a folder for copies, or a place that is none */
export function openRepository(
  flags: Readonly<FlagValues<typeof REPOSITORY_FLAGS>> & { readonly dataDir: string },
  { environment }: Pick<Terminal, "environment">,
): ModelRepository {
  const { modelRepository: base, dataDir, downloadBytesPerSecond } = flags;
  if (!isUri(base)) return { base: resolve(base), stored: undefined };
  if (dataDir === "")
    throw new ServingError(
      "CONFIG_INVALID",
      `--model-repository=${base}: what is read from an object store is kept on a disk; name a folder of this process alone with --data-dir`,
    );
  const pace = new BytePace(downloadBytesPerSecond || Number.POSITIVE_INFINITY, systemClock);
  const stored = new StoredRepository({ stores: new Stores(environment), uri: base, pace });
  return { base: stored.uri, stored };
}
