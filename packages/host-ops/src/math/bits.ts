/** What depends on how a number is stored: its neighbours, its bits, whether it is one. */
import { type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { applyBinary } from "./binary-op.js";

const scratch = new DataView(new ArrayBuffer(8));

/** The next number after `a` towards `b`, in single or double precision. */
function nextAfter(a: number, b: number, isDouble: boolean): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.NaN;
  if (a === b) return b;
  if (a === 0) return (b > 0 ? 1 : -1) * (isDouble ? Number.MIN_VALUE : 2 ** -149);
  const isAway = b > a === a > 0;
  if (isDouble) {
    scratch.setFloat64(0, a);
    scratch.setBigInt64(0, scratch.getBigInt64(0) + (isAway ? 1n : -1n));
    return scratch.getFloat64(0);
  }
  scratch.setFloat32(0, a);
  scratch.setInt32(0, scratch.getInt32(0) + (isAway ? 1 : -1));
  return scratch.getFloat32(0);
}

function populationCount(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const source = value.data as Uint8Array;
  const width = source.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength);
  const out = allocate("uint8", bytes.length / width);
  for (let i = 0; i < bytes.length; i++) {
    let count = 0;
    for (let bits = bytes[i]!; bits > 0; bits &= bits - 1) count++;
    const at = Math.floor(i / width);
    out[at] = out[at]! + count;
  }
  return [withData("uint8", value.shape, out)];
}

function checkNumerics(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const numbers = numbersOf(value);
  let [isInf, isNan] = [false, false];
  for (let i = 0; i < numbers.length; i++) {
    if (Number.isNaN(numbers[i]!)) isNan = true;
    else if (!Number.isFinite(numbers[i]!)) isInf = true;
  }
  if (isInf || isNan) {
    const what = isInf && isNan ? "Inf and NaN" : isInf ? "Inf" : "NaN";
    throw invalid(`${op.attrs.text("message")} : Tensor had ${what} values`);
  }
  return [value];
}

export const BITS_KERNELS: Readonly<Record<string, Kernel>> = {
  NextAfter: (op) => {
    const isDouble = op.tensor(0).dtype === "float64";
    return [applyBinary("NextAfter", { float: (a, b) => nextAfter(a, b, isDouble) }, op.tensor(0), op.tensor(1))];
  },
  PopulationCount: populationCount,
  CheckNumerics: checkNumerics,
  CheckNumericsV2: checkNumerics,
};
