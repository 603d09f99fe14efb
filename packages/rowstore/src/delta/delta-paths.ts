/*
 * Where epochs lie below a version directory, and what the files of one are called (docs/formats.md).
 */

/** Name of a delta's manifest in its directory; written last: a directory that has it is whole. */
export const DELTA_MANIFEST_FILE = "shardserve.delta";
/** Name of the file with the changed rows of all partitions. */
export const DELTA_ROWS_FILE = "rows.delta";
/** Folder of a delta with the dense SavedModel of its epoch, where that changed. */
export const DELTA_DENSE_DIR = "dense";

/** Name of the file that has one partition's segment of the rows file alone, where deltas are copied by partition. */
export function segmentFile(partition: number): string {
  return `p-${String(partition).padStart(5, "0")}.delta`;
}

/** Folders of a version that hold epochs, each in a folder with its number for a name. */
export const EPOCH_FOLDERS = ["deltas", "folds"] as const;

/** The epoch that such a folder's name means; undefined when it is none. */
export function epochNumber(name: string): number | undefined {
  return /^[1-9]\d{0,15}$/.test(name) && Number.isSafeInteger(Number(name)) ? Number(name) : undefined;
}

/** "deltas/7", relative to the version directory. */
export function deltaPath(epoch: number): string {
  return `deltas/${epoch}`;
}

/** "folds/7", relative to the version directory. */
export function foldPath(epoch: number): string {
  return `folds/${epoch}`;
}

/** Where an epoch of a chain lies, relative to the version directory. */
export function epochPath({ epoch, fold }: { readonly epoch: number; readonly fold?: string }): string {
  return fold === undefined ? deltaPath(epoch) : foldPath(epoch);
}
