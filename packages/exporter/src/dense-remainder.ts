import { copyFile, cp, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ProgressTask } from "@shardserve/core";
import { type BundleReader, BundleWriter } from "@shardserve/savedmodel";
import type { ExportPlan } from "./export-plan.js";

/** Directories of a SavedModel that are carried over as they are. */
const CARRIED = ["assets", "assets.extra"];

/**
 * Writes what is left of the SavedModel without its sharded tables: the graph byte for byte, the variables that serving
 * reads, checksums verified, and the assets. The result is a SavedModel that lacks some variables.
 */
export async function writeDenseRemainder(
  plan: ExportPlan,
  bundle: BundleReader,
  dir: string,
  progress: ProgressTask,
  signal: AbortSignal | undefined,
): Promise<void> {
  const source = plan.savedModel.dir;
  await rm(join(dir, "variables"), { recursive: true, force: true }); // a killed run's; written anew, it is small
  await mkdir(join(dir, "variables"));
  const writer = await BundleWriter.create(join(dir, "variables", "variables"));
  try {
    for (const { checkpointKey, bytes } of plan.dense) {
      await writer.copy(bundle, checkpointKey, signal ? { signal } : {});
      progress.advance(bytes);
    }
    await writer.finish();
  } catch (error) {
    await writer.abort().catch(() => undefined); // the first error is the one to report
    throw error;
  }
  for (const entry of await readdir(source, { withFileTypes: true })) {
    if (entry.isFile()) await copyFile(join(source, entry.name), join(dir, entry.name));
    else if (CARRIED.includes(entry.name))
      await cp(join(source, entry.name), join(dir, entry.name), { recursive: true });
  }
}
