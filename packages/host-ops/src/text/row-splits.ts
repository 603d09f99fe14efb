import { check } from "../call/errors.js";

/**
 * Checks the bounds of each row, and calls with them.
 *
 * @param name  of the input, for errors
 * @param size  of the values that the rows part
 * @throws ServingError INVALID_ARGUMENT where the splits do not ascend, or leave the values
 */
export function eachRow(
  splits: ArrayLike<number>,
  size: number,
  name: string,
  take: (start: number, end: number) => void = () => undefined,
): void {
  for (let row = 0; row + 1 < splits.length; row++) {
    const [start, end] = [splits[row]!, splits[row + 1]!];
    check(
      start >= 0 && start <= end && end <= size,
      () => `${name} must ascend from 0 to ${size}, but row ${row} is [${start}, ${end})`,
    );
    take(start, end);
  }
}

/** @throws ServingError INVALID_ARGUMENT for splits without the entry that even no rows have */
export function checkSplits(splits: ArrayLike<number>, name: string): void {
  check(splits.length > 0, () => `${name} is empty, but must have one entry more than there are rows`);
}
