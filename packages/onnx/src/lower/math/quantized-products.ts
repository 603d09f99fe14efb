import type { DType } from "@shardserve/tensor";
import type { Value } from "../../proto/value.js";
import { cast, less, not, zeroOrFail } from "../../proto/emit.js";
import {
  fromChannelsFirst,
  kernelShape,
  type Layout,
  permutedKernel,
  spatialInts,
  toChannelsFirst,
} from "../convolution/conv-layout.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";
import { paddingOf } from "../convolution/padding.js";

/**
 * Convolutions and products of bytes that stand for a range of floats. The engine's kernels of unsigned bytes add up in int32 and are exact;
 * those of a signed operand, which saturate on some CPUs, are not asked for.
 */

const IMAGES: Layout = { spatial: 2, isChannelsLast: true };

/** The byte that stands for 0 in the range of inputs `at` and `at + 1`. A range that has none fails the run. */
function zeroOf(n: NodeLowering, at: number): Value {
  const { b } = n;
  const constant = (value: number): Value => b.scalar("float64", value);
  const [low, high] = [scalarOf(n, at), scalarOf(n, at + 1)];
  const width = b.op("Mul", [cast(b, b.op("Sub", [high, low]), "float64"), constant(256 / 255)]);
  const steps = b.op("Neg", [b.op("Mul", [cast(b, low, "float64"), b.op("Div", [constant(256), width])])]);
  const isByte = b.op("And", [less(b, constant(-0.5), steps), less(b, steps, constant(255.5))]);
  const isWide = less(b, constant(0), width);
  const rounded = cast(b, b.op("Floor", [b.op("Add", [steps, constant(0.5)])]), "int64");
  return cast(b, b.op("Add", [rounded, zeroOrFail(b, not(b, b.op("And", [isWide, isByte])))]), "uint8");
}

function scalarOf(n: NodeLowering, at: number): Value {
  return n.b.op("Reshape", [n.x(at), n.b.ints([])]);
}

/** The floats of the least and greatest sum: a product of one step of each range, times the ends of int32. */
function endsOf(n: NodeLowering): Value[] {
  const { b } = n;
  const stepOf = (at: number): Value =>
    b.op("Div", [b.op("Sub", [scalarOf(n, at + 1), scalarOf(n, at)]), b.scalar("float32", 255)]);
  const step = b.op("Mul", [stepOf(2), stepOf(4)]);
  return [-(2 ** 31), 2 ** 31].map((end) => b.op("Mul", [step, b.scalar("float32", end)]));
}

function needBytes(n: NodeLowering, output: DType): void {
  if (n.dtype(0) !== "quint8" || n.dtype(1) !== "quint8" || output !== "qint32") n.fail("other integers than bytes");
}

const convolution: Lower = (n) => {
  needBytes(n, n.outDtype());
  const kernel = kernelShape(n, 1);
  const [height, width, inChannels, outChannels] = kernel as [number, number, number, number];
  const strides = spatialInts(n, IMAGES, "strides");
  if (spatialInts(n, IMAGES, "dilations").some((dilation) => dilation !== 1)) n.fail("dilations");
  if (strides[0] !== strides[1]) n.fail("strides that differ");
  // There TensorFlow pads otherwise than elsewhere.
  if (strides.some((stride, i) => stride > kernel[i]!)) n.fail("strides beyond the window");
  const padding = paddingOf(n, IMAGES, kernel, strides, [1, 1]);
  if (padding.around) n.fail("padding that is not known");
  const weights = permutedKernel(n, 1, [3, 2, 0, 1], [outChannels, inChannels, height, width]);
  const operands = [toChannelsFirst(n, IMAGES, n.x(0)), weights, zeroOf(n, 2), zeroOf(n, 4)];
  const attrs = { strides, kernel_shape: [height, width], ...padding.attrs };
  return [fromChannelsFirst(n, IMAGES, n.b.op("ConvInteger", operands, attrs, "qint32")), ...endsOf(n)];
};

const product: Lower = (n) => {
  needBytes(n, n.outDtype());
  if (n.needRank(0) !== 2 || n.needRank(1) !== 2) n.fail("operands that are no matrices");
  const operand = (at: 0 | 1, turn: string): Value =>
    n.attrs.bool(turn) ? n.b.op("Transpose", [n.x(at)], { perm: [1, 0] }) : n.x(at);
  const operands = [operand(0, "transpose_a"), operand(1, "transpose_b"), zeroOf(n, 2), zeroOf(n, 4)];
  return [n.b.op("MatMulInteger", operands, {}, "qint32"), ...endsOf(n)];
};

export const quantizedProducts: LoweringTable = { QuantizedConv2D: convolution, QuantizedMatMul: product };
