import { newData, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { joinRows, sliceRows } from "./batch-plan.js";

/** Filling up tensors for a joined run, as TensorFlow Serving does (batching/batching_util.cc). Pure functions. */

/** Appends copies of row `row` until there are `rows`. */
export function fillRows(value: Tensor, row: number, rows: number): Tensor {
  const filler = sliceRows(value, row, row + 1);
  return joinRows([value, ...Array<Tensor>(rows - value.shape[0]!).fill(filler)]);
}

/** The tensors with inner dimensions padded to the largest among them, each with its own first element. */
export function padInner(parts: readonly Tensor[]): readonly Tensor[] {
  const inner = parts[0]!.shape.slice(1).map((_, i) => Math.max(...parts.map((part) => part.shape[i + 1]!)));
  return parts.map((part) => (inner.every((dim, i) => dim === part.shape[i + 1]) ? part : padded(part, inner)));
}

function padded(value: Tensor, inner: readonly number[]): Tensor {
  const shape = [value.shape[0]!, ...inner];
  const from = sourceIndices(value.shape, shape);
  if (value.data.length === 0) return emptyPadded(value, shape, from.length);
  if (value.dtype === "string") {
    const column = value.data as StringColumn;
    return tensor("string", shape, StringColumn.from(Array.from(from, (index) => column.at(index))));
  }
  const dtype = value.dtype as "float32";
  const data = newData(dtype, from.length);
  const source = value.data as Float32Array;
  for (let i = 0; i < from.length; i++) data[i] = source[from[i]!]!;
  return tensor(dtype, shape, data);
}

/** A tensor without elements has no first one to pad with: zeros, empty strings. */
function emptyPadded(value: Tensor, shape: readonly number[], length: number): Tensor {
  if (value.dtype === "string") return tensor("string", shape, StringColumn.from(Array<string>(length).fill("")));
  const dtype = value.dtype as "float32";
  return tensor(dtype, shape, newData(dtype, length));
}

/** For each element of `shape` the element of `source` at the same place, or 0 where there is none. */
function sourceIndices(source: readonly number[], shape: readonly number[]): Int32Array {
  let count = 1;
  for (const dim of shape) count *= dim;
  const from = new Int32Array(count);
  const at = shape.map(() => 0);
  for (let i = 0; i < count; i++) {
    let index = 0;
    let isInside = true;
    for (let d = 0; d < shape.length; d++) {
      if (at[d]! >= source[d]!) isInside = false;
      index = index * source[d]! + at[d]!;
    }
    from[i] = isInside ? index : 0;
    for (let d = shape.length - 1; d >= 0 && ++at[d]! === shape[d]; d--) at[d] = 0;
  }
  return from;
}
