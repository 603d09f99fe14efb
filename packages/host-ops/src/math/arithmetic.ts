/** Kernels of elementwise ops with two operands: arithmetic, bitwise and logical ops. */
import type { StringColumn, Tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { invalid, printShape } from "../call/errors.js";
import { checkedCount, checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, sameShape } from "../call/shapes.js";
import { joinedElements } from "../strings/joined-elements.js";
import { applyBinary, type BinaryOp, unsupported } from "./binary-op.js";
import { BINARY_OPS } from "./binary-ops.js";

function binaryKernel(name: string, op: BinaryOp): Kernel {
  return (call) => {
    const a = call.tensor(0);
    const b = call.tensor(1);
    if (a.dtype === "string") return [concatStrings(name, a, b)];
    return [applyBinary(name, op, a, b)];
  };
}

function concatStrings(name: string, a: Tensor, b: Tensor): Tensor {
  if (name !== "Add" && name !== "AddV2") throw unsupported(name, "string");
  const shape = broadcastShape(a.shape, b.shape);
  const count = checkedCount("string", shape);
  const [x, y] = [operand(a, shape), operand(b, shape)];
  const [p, q] = [x.value.data as StringColumn, y.value.data as StringColumn];
  checkOutput("string", count, p.bytes.length * (x.step ? 1 : count) + q.bytes.length * (y.step ? 1 : count));
  const columns = [
    { column: p, step: x.step },
    { column: q, step: y.step },
  ];
  return joinedElements(columns, shape, new Uint8Array(0));
}

function addN(op: OpCall): Tensor[] {
  const values = op.tensors();
  for (const value of values) {
    if (!sameShape(value.shape, values[0]!.shape)) {
      throw invalid(
        `Inputs to operation ${op.node.name} of type AddN must have the same size and shape.  Input 0: ${printShape(values[0]!.shape)} != input ${values.indexOf(value)}: ${printShape(value.shape)}`,
      );
    }
  }
  return [values.reduce((sum, value) => applyBinary("AddN", BINARY_OPS.AddV2!, sum, value))];
}

function clip(op: OpCall): Tensor[] {
  const [value, low, high] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const below = applyBinary("ClipByValue", BINARY_OPS.Minimum!, value, high);
  return [applyBinary("ClipByValue", BINARY_OPS.Maximum!, below, low)];
}

function logical(f: (a: number, b: number) => number): Kernel {
  return (op) => [applyBinary(op.node.op, { int: f }, op.tensor(0), op.tensor(1))];
}

/** TensorFlow clamps the distance to [0, bits - 1]: shifting further is undefined in C++. */
function shift(isLeft: boolean): Kernel {
  return (op) => {
    const { dtype } = op.tensor(0);
    const bits = Number(/\d+$/.exec(dtype)![0]);
    const clamp = (by: number) => Math.min(Math.max(by, 0), bits - 1);
    const right =
      dtype === "uint32" ? (x: number, y: number) => x >>> clamp(y) : (x: number, y: number) => x >> clamp(y);
    const shifted: BinaryOp = {
      int32: isLeft ? (x, y) => x << clamp(y) : right,
      big: (x, y) => {
        const by = BigInt(clamp(Number(y)));
        return isLeft ? x << by : x >> by;
      },
    };
    return [applyBinary(op.node.op, shifted, op.tensor(0), op.tensor(1))];
  };
}

export const ARITHMETIC_KERNELS: Readonly<Record<string, Kernel>> = {
  ...Object.fromEntries(Object.entries(BINARY_OPS).map(([name, op]) => [name, binaryKernel(name, op)])),
  AddN: addN,
  AccumulateNV2: addN,
  ClipByValue: clip,
  LogicalAnd: logical((a, b) => a & b),
  LogicalOr: logical((a, b) => a | b),
  LeftShift: shift(true),
  RightShift: shift(false),
};
