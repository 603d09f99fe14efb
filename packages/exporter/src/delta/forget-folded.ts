import { rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { DELTA_MANIFEST_FILE, deltaPath, foldPath, listEpochs, listFolds } from "@shardserve/rowstore";

/** Deltas and folds of a version that nobody reads any more. */
export interface Forgettable {
  readonly deltas: readonly number[];
  readonly folds: readonly number[];
}

/**
 * What nobody reads any more: the deltas that the fold before the one in force stands for, and older folds. What was read until
 * this one came stays until the next, for processes that go on with what they knew before.
 *
 * @param folds   epochs of all folds that are whole, ascending
 * @param inForce  epoch of the fold in force
 */
export function forgettable(folds: readonly number[], epochs: readonly number[], inForce: number): Forgettable {
  const older = folds.filter((epoch) => epoch < inForce);
  const before = older.pop();
  if (before === undefined) return { deltas: [], folds: [] };
  return { deltas: epochs.filter((epoch) => epoch <= before), folds: older };
}

/**
 * Removes what is {@link forgettable} from a version directory.
 *
 * @param inForce  epoch of the fold in force
 * @returns how many deltas were removed
 */
export async function forgetFolded(versionDir: string, inForce: number): Promise<number> {
  const { deltas, folds } = forgettable(await listFolds(versionDir), await listEpochs(versionDir), inForce);
  for (const path of [...deltas.map(deltaPath), ...folds.map(foldPath)]) {
    const directory = join(versionDir, path);
    await unlink(join(directory, DELTA_MANIFEST_FILE)).catch(() => undefined); // gone with an attempt that was cut short
    await rm(directory, { recursive: true, force: true });
  }
  return deltas.length;
}
