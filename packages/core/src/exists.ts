import { stat } from "node:fs/promises";

/** Whether anything is at a path. What cannot be looked at is as good as absent: the read that follows says why. */
export function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
