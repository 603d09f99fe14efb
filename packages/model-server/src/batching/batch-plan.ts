import type { SignatureInfo } from "@shardserve/servable";
import { bytesOf, type NumericData, newData, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { invariant } from "@shardserve/core";

/** Joining and splitting tensors along dimension 0. Pure functions. */

/** What joining requests depends on beside their inputs. */
export interface JoinPlan {
  /** The signature and its wanted outputs, as text. */
  readonly key: string;
  /** Whether the requests may be joined at all. */
  readonly canJoin: boolean;
}

/** Of the requests that want all outputs, as nearly all do. */
const plans = new WeakMap<SignatureInfo, JoinPlan>();

export function planOf(signature: SignatureInfo, outputs: readonly string[] | undefined): JoinPlan {
  if (outputs) return makePlan(signature, outputs);
  let plan = plans.get(signature);
  if (!plan) plans.set(signature, (plan = makePlan(signature, undefined)));
  return plan;
}

function makePlan(signature: SignatureInfo, outputs: readonly string[] | undefined): JoinPlan {
  return { key: JSON.stringify([signature.name, outputs ?? null]), canJoin: canJoin(signature, outputs) };
}

/** Whether requests of a signature may be joined: every input and every asked output declares a free dimension 0. */
export function canJoin(signature: SignatureInfo, outputs: readonly string[] | undefined): boolean {
  if (signature.inputs.size === 0) return false;
  for (const spec of signature.inputs.values()) if (spec.shape?.[0] !== -1) return false;
  for (const alias of outputs ?? signature.outputs.keys()) {
    if (signature.outputs.get(alias)?.shape?.[0] !== -1) return false;
  }
  return true;
}

/** Rows of a request: the common dimension 0 of its inputs; 0 when they have none in common or are empty. */
export function rowsOf(inputs: ReadonlyMap<string, Tensor>): number {
  let rows = -1;
  for (const { shape } of inputs.values()) {
    if (shape.length === 0 || (rows >= 0 && shape[0] !== rows)) return 0;
    rows = shape[0]!;
  }
  return Math.max(rows, 0);
}

/**
 * Requests of one key may be joined: the same signature, outputs and shapes but for dimension 0.
 *
 * @param isPadded  of the inner dimensions only their number matters
 */
export function joinKey(plan: JoinPlan, inputs: ReadonlyMap<string, Tensor>, isPadded = false): string {
  let { key } = plan;
  for (const { dtype, shape } of inputs.values()) {
    key += `|${dtype}`;
    if (isPadded) key += shape.length;
    else for (let i = 1; i < shape.length; i++) key += i === 1 ? shape[i] : `,${shape[i]}`;
  }
  return key;
}

/** One tensor of the rows of all parts, in order. Parts agree in dtype and in all dimensions but the first. */
export function joinRows(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  invariant(first, "nothing to join");
  let rows = 0;
  for (const part of parts) rows += part.shape[0]!;
  const shape = [rows, ...first.shape.slice(1)];
  if (first.dtype === "string")
    return tensor("string", shape, joinStrings(parts.map((part) => part.data as StringColumn)));
  let length = 0;
  for (const part of parts) length += part.data.length;
  const dtype = first.dtype as "float32";
  const data = newData(dtype, length);
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return tensor(dtype, shape, data);
}

function joinStrings(columns: readonly StringColumn[]): StringColumn {
  let count = 0;
  let byteLength = 0;
  for (const column of columns) {
    count += column.length;
    byteLength += column.offsets[column.length]! - column.offsets[0]!;
  }
  const bytes = new Uint8Array(byteLength);
  const offsets = new Uint32Array(count + 1);
  let at = 0;
  let next = 0;
  for (const column of columns) {
    const start = column.offsets[0]!;
    bytes.set(column.bytes.subarray(start, column.offsets[column.length]!), at);
    for (let i = 0; i < column.length; i++) offsets[next++] = column.offsets[i]! - start + at;
    at += column.offsets[column.length]! - start;
  }
  offsets[next] = at;
  return new StringColumn(bytes, offsets);
}

/** Rows [start, end) of a tensor as a view of it. */
export function sliceRows(value: Tensor, start: number, end: number): Tensor {
  const shape = [end - start, ...value.shape.slice(1)];
  if (value.dtype === "string") {
    const column = value.data as StringColumn;
    const perRow = value.shape[0] === 0 ? 0 : column.length / value.shape[0]!;
    return tensor(
      "string",
      shape,
      new StringColumn(column.bytes, column.offsets.subarray(start * perRow, end * perRow + 1)),
    );
  }
  const perRow = value.shape[0] === 0 ? 0 : value.data.length / value.shape[0]!;
  const data = (value.data as Float32Array).subarray(start * perRow, end * perRow);
  return tensor(value.dtype as "float32", shape, data);
}

/** Whether two tensors of one dtype and inner shape are the same bit for bit in the rows that both have. */
export function haveSameRows(a: Tensor, b: Tensor): boolean {
  const rows = Math.min(a.shape[0]!, b.shape[0]!);
  const [left, right] = [sliceRows(a, 0, rows), sliceRows(b, 0, rows)];
  if (a.dtype === "string") return isSameTensor(left, right, 0);
  return Buffer.compare(bytesOf(left.data as NumericData), bytesOf(right.data as NumericData)) === 0;
}

/** Whether two tensors are the same, NaN equal to NaN; floats of a model may differ by `tolerance` of the largest. */
export function isSameTensor(a: Tensor, b: Tensor, tolerance: number): boolean {
  if (a.dtype !== b.dtype || a.shape.length !== b.shape.length || a.shape.some((dim, i) => dim !== b.shape[i]))
    return false;
  if (a.dtype === "string") {
    const [left, right] = [a.data as StringColumn, b.data as StringColumn];
    for (let i = 0; i < left.length; i++) if (Buffer.compare(left.at(i), right.at(i)) !== 0) return false;
    return true;
  }
  if (a.dtype !== "float32" && a.dtype !== "float64") {
    return Buffer.compare(bytesOf(a.data as NumericData), bytesOf(b.data as NumericData)) === 0;
  }
  const [left, right] = [a.data as Float32Array, b.data as Float32Array];
  let largest = 1;
  for (const value of left) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  for (let i = 0; i < left.length; i++) {
    const [x, y] = [left[i]!, right[i]!];
    if (!Object.is(x, y) && x !== y && !(Math.abs(x - y) <= tolerance * largest)) return false;
  }
  return true;
}
