/** Ops that make tensors from little or no input. */
import { systemClock } from "@shardserve/core";
import { deviceIndex } from "@shardserve/graph";
import { elementCount, isNumeric, scalar, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import { is64Bit, isFloating, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { cast } from "./cast.js";

function range(op: OpCall): Tensor[] {
  const [start, limit, delta] = [op.tensor(0), op.tensor(1), op.tensor(2)].map((value, i) => {
    check(
      elementCount(value.shape) === 1 && value.shape.length <= 1,
      () => `${["start", "limit", "delta"][i]} must be a scalar, not shape [${value.shape.join(",")}]`,
    );
    return numbersOf(value)[0]!;
  }) as [number, number, number];
  const { dtype } = op.tensor(0);
  check(delta !== 0, () => `Requires delta != 0: ${delta}`);
  check(
    delta > 0 ? start <= limit : start >= limit,
    () => `Requires start ${delta > 0 ? "<=" : ">="} limit when delta ${delta > 0 ? ">" : "<"} 0: ${start}/${limit}`,
  );
  const count = Math.ceil(Math.abs((limit - start) / delta));
  checkOutput(dtype, count);
  if (is64Bit(dtype)) {
    for (const value of [start, limit, delta]) {
      if (!Number.isSafeInteger(value)) throw invalid(`Range over ${value}: bounds beyond 2^53 are not supported`);
    }
  }
  const out = numberArray(dtype, count);
  const isFloat = isFloating(dtype) && dtype !== "float64";
  let next = start;
  for (let i = 0; i < count; i++) {
    out[i] = next;
    // Floats accumulate in their own precision, as TensorFlow's loop does.
    next = isFloat ? Math.fround(next + delta) : next + delta;
  }
  return [numbersTensor(dtype, [count], out)];
}

function linSpace(op: OpCall): Tensor[] {
  const { dtype } = op.tensor(0);
  const start = numbersOf(op.tensor(0))[0]!;
  const stop = numbersOf(op.tensor(1))[0]!;
  const count = integerOf(op.tensor(2));
  check(count > 0, () => `Requires num > 0: ${count}`);
  checkOutput(dtype, count);
  const out = numberArray(dtype, count);
  const round = dtype === "float64" ? (x: number) => x : Math.fround;
  const step = count > 1 ? round(round(stop - start) / (count - 1)) : 0;
  for (let i = 0; i < count; i++) out[i] = round(start + round(step * i));
  if (count > 1) out[count - 1] = stop;
  return [numbersTensor(dtype, [count], out)];
}

function onesLike(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  if (!isNumeric(value.dtype)) throw invalid(`OnesLike of ${value.dtype} is not supported`);
  const ones = new Float32Array(elementCount(value.shape)).fill(1);
  return [cast(tensor("float32", value.shape, ones), value.dtype)];
}

export const GENERATE_KERNELS: Readonly<Record<string, Kernel>> = {
  Const: (op) => [op.attrs.tensor("value")],
  HostConst: (op) => [op.attrs.tensor("value")],
  DeviceIndex: (op) => [scalar("int32", deviceIndex(op.attrs))],
  NoOp: () => [],
  Timestamp: () => [scalar("float64", systemClock.wallMs() / 1000)],
  Range: range,
  LinSpace: linSpace,
  ZerosLike: (op) => [zeroTensor(op.tensor(0).dtype, op.tensor(0).shape)],
  OnesLike: onesLike,
};
