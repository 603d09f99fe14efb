import { type DType, narrowingBlock, narrowRange, narrowsThroughUint16 } from "@shardserve/tensor";
import { cast, concat, INT64_MAX, isFloat, less, not, shapeOf, slice, where } from "../../proto/emit.js";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import type { LoweringTable, NodeLowering } from "../node-lowering.js";

/**
 * Cast, with TensorFlow's answers for floats that the target cannot hold: its CPU kernels truncate to a wider integer, where
 * what does not fit becomes the smallest, and narrow that. Whole blocks of elements saturate, those behind the last
 * whole block keep their low bits. What ONNX Runtime's kernel makes of such floats is up to the compiler that made it.
 */

/**
 * Factors of just over half the smallest number: magnitudes below the normal ones become 0, all others stay different from 0.
 * TensorFlow's threads take such magnitudes for 0.
 */
const VANISHING: Partial<Record<DType, number>> = {
  float32: 2 ** -24 * (1 + 2 ** -23),
  float64: 2 ** -53 * (1 + 2 ** -52),
};

function lowerCast(n: NodeLowering): Value {
  const { b } = n;
  const to = n.outDtype();
  if (n.attrs.has("Truncate") && n.attrs.bool("Truncate") && (isFloat(to) || to === "bfloat16"))
    n.fail("Cast that truncates floats");
  const from = n.dtype(0);
  if (from === to) return n.x(0);
  // There are kernels of bfloat16 to and from float32 alone.
  const x = from === "bfloat16" ? cast(b, n.x(0), "float32") : n.x(0);
  if (to === "bfloat16") return cast(b, cast(b, x, "float32"), to);
  if (!isFloat(x.dtype)) return cast(b, x, to);
  if (to === "bool") return cast(b, withoutDenormals(b, x, from), to);
  if (to === "uint64") return toUint64(b, x);
  const block = narrowingBlock(from, to) ?? 1;
  if (to === "uint32") return inBlocks(n, cast(b, x, "int64"), block, (wide) => withinUint32(b, wide), to);
  const range = narrowRange(to);
  if (!range) return cast(b, x, to);
  const narrowed = (wide: Value): Value => saturated(b, wide, range, narrowsThroughUint16(from, to));
  return inBlocks(n, cast(b, x, "int32"), block, narrowed, to);
}

function withoutDenormals(b: OnnxBuilder, x: Value, from: DType): Value {
  const factor = VANISHING[from];
  return factor === undefined ? x : b.op("Mul", [x, b.scalar(from, factor)]);
}

function saturated(b: OnnxBuilder, wide: Value, [low, high]: readonly [number, number], isSigned: boolean): Value {
  const zero = b.scalar("int32", 0);
  const kept = isSigned ? where(b, less(b, wide, b.scalar("int32", 2 ** 15)), wide, zero) : wide;
  return b.op("Clip", [kept, b.scalar("int32", low), b.scalar("int32", high)]);
}

/** 2^31 in the place of what neither int32 nor uint32 holds. */
function withinUint32(b: OnnxBuilder, wide: Value): Value {
  const isBelow = less(b, wide, b.scalar("int64", -(2 ** 31)));
  const isOut = b.op("Or", [isBelow, less(b, b.scalar("int64", 2 ** 32 - 1), wide)]);
  return where(b, isOut, b.scalar("int64", 2 ** 31), wide);
}

/** int64 has the bits of all but the upper half of uint64, and the smallest for what does not fit; the upper half is counted from 2^63. */
function toUint64(b: OnnxBuilder, given: Value): Value {
  const x = given.dtype === "float16" ? cast(b, given, "float32") : given;
  const bits = cast(b, x, "int64");
  const half = b.scalar(x.dtype, 2 ** 63);
  const isUpper = b.op("And", [not(b, less(b, x, half)), less(b, x, b.scalar(x.dtype, 2 ** 64))]);
  const excess = cast(b, b.op("Sub", [x, half]), "int64");
  return cast(b, where(b, isUpper, b.op("Add", [bits, excess]), bits), "uint64");
}

/** Applies `narrowed` to whole blocks of elements, counted from the first, and takes the low bits of all. */
function inBlocks(n: NodeLowering, wide: Value, block: number, narrowed: (wide: Value) => Value, to: DType): Value {
  const { b } = n;
  const shape = n.shape(0);
  const count = shape?.every((length) => length >= 0) ? shape.reduce((product, length) => product * length, 1) : -1;
  // ONNX Runtime makes one cast of two that meet.
  if (count >= 0 && count < block) return cast(b, b.op("BitwiseAnd", [wide, b.scalar(wide.dtype, -1)]), to);
  if (count >= 0 && count % block === 0) return cast(b, narrowed(wide), to);
  const flat = b.op("Reshape", [wide, b.ints([-1])]);
  const end = count >= 0 ? b.ints([count - (count % block)]) : wholeBlocks(b, flat, block);
  const parts = [narrowed(slice(b, flat, [0], end)), slice(b, flat, end, [INT64_MAX])];
  return cast(b, b.op("Reshape", [concat(b, parts), shapeOf(b, wide)], { allowzero: 1 }), to);
}

/** Elements of a vector that whole blocks have, as an int64 vector of one element. */
function wholeBlocks(b: OnnxBuilder, flat: Value, block: number): Value {
  const size = b.ints([block]);
  return b.op("Mul", [b.op("Div", [shapeOf(b, flat), size]), size]);
}

export const casts: LoweringTable = { Cast: lowerCast };
