/** Numbers that are one value but for the pieces placed among them. */
import {
  bytesOf,
  lanesPerElement,
  newData,
  type NumericData,
  type NumericDType,
  type Tensor,
} from "@shardserve/tensor";
import { copyUnits, unitsOf, unitsPerElement } from "./elements.js";

/** `count` elements of padding: the elements of `row` over and over. */
export function paddingOf(dtype: NumericDType, count: number, row: Tensor): NumericData {
  const data = newData(dtype, count * lanesPerElement(dtype));
  const source = row.data as NumericData;
  const isZero = bytesOf(source).every((byte) => byte === 0);
  if (isZero || data.length === 0) return data;
  if (source.length === 1) data.fill(source[0] as never);
  else for (let at = 0; at < data.length; at += source.length) data.set(source as never, at);
  return data;
}

/**
 * Copies piece i of `source`, elements `i * run` to `(i + 1) * run`, to element `starts[i]` of `out`; -1 leaves one out.
 * Pieces that stay neighbours go in one.
 */
export function placeRuns(out: NumericData, source: Tensor, starts: Float64Array, run: number): void {
  const from = unitsOf(source.dtype, source.data as NumericData);
  const to = unitsOf(source.dtype, out);
  const units = unitsPerElement(source.dtype);
  for (let i = 0; i < starts.length; ) {
    const start = starts[i]!;
    let end = i + 1;
    while (end < starts.length && starts[end] === start + (end - i) * run) end++;
    if (start < 0) {
      i++;
      continue;
    }
    copyUnits(from, i * run * units, to, start * units, (end - i) * run * units);
    i = end;
  }
}

/**
 * Copies the first `width` pieces, of `run` elements each, of every row of `source` to piece `starts[row]` of `out` and behind it.
 *
 * @param splits  where the rows' pieces begin in `source`, and where the last one ends
 * @param starts  -1 leaves a row out
 */
export function placeRows(
  out: NumericData,
  source: Tensor,
  splits: ArrayLike<number>,
  starts: Float64Array,
  width: number,
  run: number,
): void {
  const from = unitsOf(source.dtype, source.data as NumericData);
  const to = unitsOf(source.dtype, out);
  const units = unitsPerElement(source.dtype) * run;
  for (let row = 0; row + 1 < splits.length; row++) {
    const count = Math.min(splits[row + 1]! - splits[row]!, width);
    const start = starts[row]!;
    if (count > 0 && start >= 0) copyUnits(from, splits[row]! * units, to, start * units, count * units);
  }
}
