/** What of a dense tensor is present: see `PresentElements` in the compiler's IR. */
import { elementCount, lanesOf, type StringColumn, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { reshaped, takeRuns } from "../call/elements.js";
import { int64Data, storeAt } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";

function presentElements(op: OpCall): Tensor[] {
  const [x, absent] = [op.tensor(0), op.tensor(1)];
  const rank = x.shape.length;
  const count = elementCount(x.shape);
  const positions = zeroedArray(Int32Array, count);
  const present = presentPositions(x, absent, positions);
  checkOutput("int64", present * rank);
  const { data, lanes } = int64Data(present * rank);
  for (let i = 0; i < present; i++) {
    let rest = positions[i]!;
    for (let d = rank - 1; d > 0; d--) {
      const dim = x.shape[d]!;
      if (dim === 1) continue;
      storeAt(lanes, i * rank + d, rest % dim);
      rest = Math.floor(rest / dim);
    }
    storeAt(lanes, i * rank, rest);
  }
  const values = present === count ? reshaped(x, [count]) : takeRuns(x, positions.subarray(0, present), 1, [present]);
  return [tensor("int64", [present, rank], data), values];
}

/**
 * Puts the positions of the elements that differ from the scalar into `positions`.
 *
 * @returns how many there are
 */
function presentPositions(x: Tensor, absent: Tensor, positions: Int32Array): number {
  let present = 0;
  if (x.dtype === "string") {
    const column = x.data as StringColumn;
    const { bytes, offsets } = absent.data as StringColumn;
    const [start, length] = [offsets[0]!, offsets[1]! - offsets[0]!];
    for (let i = 0; i < positions.length; i++) {
      if (!isSameString(column, i, bytes, start, length)) positions[present++] = i;
    }
  } else if (x.dtype === "int64") {
    const lanes = lanesOf(x.data as BigInt64Array);
    const [low, high] = lanesOf(absent.data as BigInt64Array) as unknown as [number, number];
    for (let i = 0; i < positions.length; i++) {
      if (lanes[2 * i] !== low || lanes[2 * i + 1] !== high) positions[present++] = i;
    }
  } else {
    const [data, value] = [x.data as Int32Array, (absent.data as Int32Array)[0]];
    for (let i = 0; i < positions.length; i++) if (data[i] !== value) positions[present++] = i;
  }
  return present;
}

function isSameString(column: StringColumn, i: number, bytes: Uint8Array, start: number, length: number): boolean {
  const from = column.offsets[i]!;
  if (column.offsets[i + 1]! - from !== length) return false;
  for (let k = 0; k < length; k++) if (column.bytes[from + k] !== bytes[start + k]) return false;
  return true;
}

export const PRESENT_ELEMENTS_KERNELS: Readonly<Record<string, Kernel>> = { PresentElements: presentElements };
