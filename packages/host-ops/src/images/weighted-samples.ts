/** Images whose every row and column is a weighted sum of others: what all ways of resizing by a kernel come to. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { checkedCount } from "../call/limits.js";
import { numberArray, type NumberArray, numbersOf } from "../call/numeric.js";

/** What makes one output row or column: inputs with weights. */
export interface Tap {
  readonly indices: readonly number[];
  readonly weights: readonly number[];
}

/** The taps of all rows, or columns, one behind the other: those of number i from `ends[i - 1]` to `ends[i]`. */
interface Taps {
  readonly ends: Int32Array;
  /** Where the inputs begin, counted in elements. */
  readonly starts: Int32Array;
  readonly weights: Float64Array;
}

/** @param run  elements of a row, or column */
function flat(taps: readonly Tap[], run: number): Taps {
  let end = 0;
  return {
    ends: Int32Array.from(taps, ({ indices }) => (end += indices.length)),
    starts: Int32Array.from(
      taps.flatMap(({ indices }) => indices),
      (index) => index * run,
    ),
    weights: Float64Array.from(taps.flatMap(({ weights }) => weights)),
  };
}

/** `line` becomes the weighted sum of the image's rows that taps `first` to `end` name. */
function sumRows(line: Float64Array, image: NumberArray, { starts, weights }: Taps, first: number, end: number): void {
  if (first === end) line.fill(0);
  for (let k = first; k < end; k++) {
    const weight = weights[k]!;
    const from = starts[k]!;
    if (k === first) for (let i = 0; i < line.length; i++) line[i] = weight * image[from + i]!;
    else for (let i = 0; i < line.length; i++) line[i]! += weight * image[from + i]!;
  }
}

/** Writes the columns of one row, pixel by pixel, from `at` on. */
function sumColumns(out: NumberArray, start: number, line: Float64Array, columns: Taps, channels: number): void {
  const { ends, starts, weights } = columns;
  let at = start;
  let first = 0;
  for (let column = 0; column < ends.length; column++) {
    const end = ends[column]!;
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      for (let k = first; k < end; k++) sum += weights[k]! * line[starts[k]! + c]!;
      out[at++] = sum;
    }
    first = end;
  }
}

/**
 * Rows by rows, then columns, in double precision.
 *
 * @param images  [batch, height, width, channels]
 * @returns float32 [batch, rows, columns, channels]
 */
export function resampled(images: Tensor, rows: readonly Tap[], columns: readonly Tap[]): Tensor<"float32"> {
  const [batch, height, width, channels] = images.shape as [number, number, number, number];
  const shape = [batch, rows.length, columns.length, channels];
  const input = numbersOf(images);
  const out = numberArray("float32", checkedCount("float32", shape)) as Float32Array;
  const line = new Float64Array(width * channels);
  const [rowTaps, columnTaps] = [flat(rows, line.length), flat(columns, channels)];
  let at = 0;
  for (let b = 0; b < batch; b++) {
    const image = input.subarray(b * height * line.length, (b + 1) * height * line.length);
    for (let row = 0; row < rows.length; row++) {
      sumRows(line, image, rowTaps, row === 0 ? 0 : rowTaps.ends[row - 1]!, rowTaps.ends[row]!);
      sumColumns(out, at, line, columnTaps, channels);
      at += columns.length * channels;
    }
  }
  return tensor("float32", shape, out);
}
