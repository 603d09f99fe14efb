import { invariant, ServingError } from "@shardserve/core";
import { lanesOf, type Tensor } from "@shardserve/tensor";

/**
 * Ids of an ONNX Gather as row ids: negative ones count from the end of the table.
 *
 * @param rows  of the table
 * @param node  that gathers; ONNX Runtime's error texts name it
 * @returns the ids' own data when none is negative
 * @throws ServingError ROW_OUT_OF_RANGE for an id outside [-rows, rows), in ONNX Runtime's words
 */
export function gatherIds(ids: Tensor, rows: number, node: string): BigInt64Array | Int32Array {
  invariant(ids.dtype === "int64" || ids.dtype === "int32", () => `ids of dtype ${ids.dtype}`);
  const data = ids.data as BigInt64Array | Int32Array;
  return data instanceof Int32Array ? wrapInt32(data, rows, node) : wrapInt64(data, rows, node);
}

function wrapInt32(data: Int32Array, rows: number, node: string): BigInt64Array | Int32Array {
  let hasNegative = false;
  for (let i = 0; i < data.length; i++) {
    const id = data[i]!;
    if (id < -rows || id >= rows) throw outOfRange(id, rows, node);
    if (id < 0) hasNegative = true;
  }
  if (!hasNegative) return data;
  // A table may have more rows than an int32 counts.
  const wrapped = new BigInt64Array(data.length);
  const lanes = lanesOf(wrapped);
  for (let i = 0; i < data.length; i++) store(lanes, i, data[i]! < 0 ? data[i]! + rows : data[i]!);
  return wrapped;
}

function wrapInt64(data: BigInt64Array, rows: number, node: string): BigInt64Array {
  const lanes = lanesOf(data);
  let hasNegative = false;
  for (let i = 0; i < data.length; i++) {
    const id = load(lanes, i);
    if (id < -rows || id >= rows) throw outOfRange(data[i]!, rows, node);
    if (id < 0) hasNegative = true;
  }
  if (!hasNegative) return data;
  const wrapped = data.slice();
  const target = lanesOf(wrapped);
  for (let i = 0; i < data.length; i++) {
    const id = load(lanes, i);
    if (id < 0) store(target, i, id + rows);
  }
  return wrapped;
}

/** Element `i`; numbers beyond 2^53 are rounded, and outside of any table. */
function load(lanes: Int32Array, i: number): number {
  return lanes[2 * i + 1]! * 2 ** 32 + (lanes[2 * i]! >>> 0);
}

function store(lanes: Int32Array, i: number, id: number): void {
  const high = Math.floor(id / 2 ** 32);
  lanes[2 * i] = id - high * 2 ** 32;
  lanes[2 * i + 1] = high;
}

function outOfRange(id: number | bigint, rows: number, node: string): ServingError {
  const text = `indices element out of data bounds, idx=${id} must be within the inclusive range [${-rows},${rows - 1}]`;
  return new ServingError("ROW_OUT_OF_RANGE", `${text}\n\t [[{{node ${node}}}]]`);
}
