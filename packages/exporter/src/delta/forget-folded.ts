import { rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { DELTA_MANIFEST_FILE, deltaPath, foldPath, listEpochs, listFolds } from "@shardserve/rowstore";

/**
 * Removes the deltas that nobody reads any more: those that the fold before the one in force stands for, and older folds. What
 * was read until this one came stays until the next, for processes that go on with what they knew before.
 *
 * @param inForce  epoch of the fold in force
 * @returns how many deltas were removed
 */
export async function forgetFolded(versionDir: string, inForce: number): Promise<number> {
  const folds = (await listFolds(versionDir)).filter((epoch) => epoch < inForce);
  const before = folds.pop();
  if (before === undefined) return 0;
  const deltas = (await listEpochs(versionDir)).filter((epoch) => epoch <= before);
  for (const path of [...deltas.map(deltaPath), ...folds.map(foldPath)]) {
    const directory = join(versionDir, path);
    await unlink(join(directory, DELTA_MANIFEST_FILE)).catch(() => undefined); // gone with an attempt that was cut short
    await rm(directory, { recursive: true, force: true });
  }
  return deltas.length;
}
