import { isServingError, type ServingError } from "@shardserve/core";

/** Where folds lie: how one is read and removed. */
export interface FoldAccess {
  /** The manifest of a fold; undefined = it is not whole yet. @throws ServingError DELTA_INVALID when it is damaged */
  readonly read: (epoch: number) => Promise<unknown>;
  readonly remove: (epoch: number) => Promise<void>;
}

/** The folds that can be read. A damaged one is told of and removed: nobody reads it, the leader refused it too. */
export async function readableFolds(
  epochs: readonly number[],
  { read, remove }: FoldAccess,
  onDamage: (error: ServingError) => void,
): Promise<number[]> {
  const readable: number[] = [];
  for (const epoch of epochs) {
    try {
      if (await read(epoch)) readable.push(epoch);
    } catch (error) {
      if (!isServingError(error, "DELTA_INVALID")) throw error;
      onDamage(error);
      await remove(epoch);
    }
  }
  return readable;
}
