/** Numbers that are one value but for the pieces placed among them. */
import {
  bytesOf,
  DTYPES,
  lanesPerElement,
  newData,
  type NumericData,
  type NumericDType,
  type Tensor,
} from "@shardserve/tensor";

/** Shorter pieces are copied faster by a loop than by a view and a copy. */
const COPY_BYTES_MIN = 128;

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
  const lanes = lanesPerElement(source.dtype);
  const from = source.data as Float64Array;
  const to = out as Float64Array;
  const countMin = COPY_BYTES_MIN / (DTYPES[source.dtype].bytes / lanes);
  for (let i = 0; i < starts.length; ) {
    const start = starts[i]!;
    let end = i + 1;
    while (end < starts.length && starts[end] === start + (end - i) * run) end++;
    if (start < 0) {
      i++;
      continue;
    }
    const at = start * lanes;
    const first = i * run * lanes;
    const count = (end - i) * run * lanes;
    if (count >= countMin) to.set(from.subarray(first, first + count), at);
    else for (let k = 0; k < count; k++) to[at + k] = from[first + k]!;
    i = end;
  }
}
