import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { isServingError } from "@shardserve/core";
import { type DeltaReport, publish } from "@shardserve/exporter";
import { childUri, Stores } from "@shardserve/object-store";
import { DELTA_MANIFEST_FILE, deltaPath } from "@shardserve/rowstore";
import type { Terminal } from "../../command.js";
import { stagingFolder } from "./staged-export.js";
import { copyVersion, unpublishedEpochs } from "./version-copy.js";

/** What of a terminal these need. */
type Surroundings = Pick<Terminal, "environment" | "progress" | "signal" | "logger">;

/**
 * Calls with a copy of a version in an object store, which stays for the next call.
 *
 * @param uri  of the version
 * @throws ServingError as copyVersion
 */
export async function withVersionCopy<T>(
  uri: string,
  stagingDir: string,
  { environment, progress, signal, logger }: Surroundings,
  use: (directory: string, stores: Stores) => Promise<T>,
): Promise<T> {
  const stores = new Stores(environment);
  try {
    const directory = join(stagingFolder(stagingDir, uri), basename(uri));
    await copyVersion({ stores, uri, directory, progress, logger, signal });
    return await use(directory, stores);
  } finally {
    await stores.close();
  }
}

/**
 * Writes a delta of a version in an object store: compared with a copy of it, written beside the copy, and put there, its manifest
 * last. One that a run wrote which was cut off is put there first.
 *
 * @param run  compares with the copy and writes the delta
 * @throws ServingError OUTPUT_EXISTS when somebody else puts this epoch; as copyVersion, runDelta and publish
 */
export async function deltaToStore(
  uri: string,
  stagingDir: string,
  surroundings: Surroundings,
  run: (directory: string) => Promise<DeltaReport>,
): Promise<DeltaReport> {
  const { progress, logger, signal } = surroundings;
  return withVersionCopy(uri, stagingDir, surroundings, async (directory, stores) => {
    const put = (epoch: number) =>
      publish(join(directory, deltaPath(epoch)), {
        stores,
        uri: childUri(uri, deltaPath(epoch)),
        manifest: DELTA_MANIFEST_FILE,
        progress,
        logger,
        signal,
      });
    for (const epoch of await unpublishedEpochs(directory, uri, stores, signal)) {
      await put(epoch).catch(async (error: unknown) => {
        if (!isServingError(error, "OUTPUT_EXISTS")) throw error;
        await rm(join(directory, deltaPath(epoch)), { recursive: true }); // its place was taken
      });
    }
    const report = await run(directory);
    if (report.out === undefined) return report;
    await put(report.epoch);
    return { ...report, out: childUri(uri, deltaPath(report.epoch)) };
  });
}
