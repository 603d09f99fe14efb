import type { HloValue } from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import { readDimensionNumbers } from "./dimension-numbers.js";
import { DIRECTIONS, dimensions, enumeration, FLOAT, hloOp, int, ints, TOTAL_ORDER, value } from "./hlo.js";
import type { NodeView } from "./node-modules.js";

/** Adds the ops of StableHLO that a node stands for; @returns the node's outputs, or undefined for a node that stays */
type Describe = (n: NodeView) => readonly HloValue[] | undefined;

/** A convolution whose paddings follow from the request takes them as an operand. */
const convolution: Describe = (n) => {
  const padding = n.known(3);
  const attrs = {
    ...dimensions(readDimensionNumbers("CONVOLUTION", n.attrs.bytes("dimension_numbers"))),
    window_strides: ints(n.ints(2, "strides")),
    lhs_dilation: ints(n.ints(4, "dilations")),
    rhs_dilation: ints(n.ints(5, "dilations")),
    feature_group_count: int(n.ints(6, "groups")[0] ?? n.fail("it has no number of groups")),
    batch_group_count: int(n.node.op === "XlaConvV2" ? n.attrs.int("batch_group_count") : 1),
  };
  const sides = [n.in(0), n.in(1)];
  if (padding) return n.op("convolution", sides, { ...attrs, padding: ints(padding) }, [n.out()]);
  return n.op("dynamic_conv", [...sides, n.in(3)], attrs, [n.out()]);
};

const dot: Describe = (n) => {
  const numbers = readDimensionNumbers("DOT", n.attrs.bytes("dimension_numbers"));
  return n.op("dot_general", [n.in(0), n.in(1)], dimensions(numbers), [n.out()]);
};

const gather: Describe = (n) => {
  const numbers = dimensions(readDimensionNumbers("GATHER", n.attrs.bytes("dimension_numbers")));
  const sizes = n.known(2);
  if (sizes) return n.op("gather", [n.in(0), n.in(1)], { ...numbers, slice_sizes: ints(sizes) }, [n.out()]);
  return n.op("dynamic_gather", n.ins(0, 3), numbers, [n.out()]);
};

/** One row, by the start of the first dimension: a lookup, where the operand is a table. Any other slice is an op of its own. */
const rowSlice: Describe = (n) => {
  const [shape, sizes] = [n.shape(0), n.known(2)];
  const rows = shape?.[0] ?? 0;
  const isRow =
    sizes?.[0] === 1 && sizes.length === shape?.length && sizes.every((size, i) => i === 0 || size === shape[i]);
  if (!isRow || rows < 2 || n.shape(1)?.[0] !== sizes.length) return undefined;
  const dtype = n.dtype(1);
  const cut = { start_indices: ints([0]), limit_indices: ints([1]), strides: ints([1]) };
  const [vector] = n.op("slice", [n.in(1)], cut, [value(dtype, [1])]);
  const [start] = n.op("reshape", [vector!], {}, [value(dtype, [])]);
  // The starts of dimensions that are taken whole are not asked for.
  const operands = [n.in(0), ...sizes.map(() => start!)];
  return n.op("dynamic_slice", operands, { slice_sizes: ints(sizes) }, [n.out()]);
};

const scatter: Describe = (n) => {
  const numbers = readDimensionNumbers("SCATTER", n.attrs.bytes("dimension_numbers"));
  const dtype = n.dtype(0);
  const body = n.region("update_computation", [dtype, dtype]);
  return n.op("scatter", n.ins(0, 3), dimensions(numbers), [n.out()], [body]);
};

const pad: Describe = (n) => {
  const [low, high, interior] = [n.known(2), n.known(3), n.known(4)];
  if (!low || !high || !interior) return n.op("dynamic_pad", n.ins(0, 5), {}, [n.out()]);
  const attrs = { edge_padding_low: ints(low), edge_padding_high: ints(high), interior_padding: ints(interior) };
  return n.op("pad", [n.in(0), n.in(1)], attrs, [n.out()]);
};

/** Of one tensor, or of several at once. */
const reduce: Describe = (n) => {
  const count = n.node.inputs.length / 2;
  const dtypes = n.outputs.map(({ type }) => dtypeOf(n, type));
  const body = n.region("reducer", [...dtypes, ...dtypes]);
  const attrs = { dimensions: ints(n.attrs.ints("dimensions_to_reduce")) };
  // The places of the elements, where the largest one is searched for.
  if (count === 2) n.in(1, "iota");
  return n.op("reduce", n.ins(0, 2 * count), attrs, n.outputs, [body]);
};

function dtypeOf(n: NodeView, type: HloValue["type"]): DType {
  return (type.kind === "tensor" ? type.element.dtype : undefined) ?? n.fail("its dtype is not supported");
}

const reduceWindow: Describe = (n) => {
  const dtype = n.dtype(0);
  const attrs = {
    window_dimensions: ints(n.ints(2, "sizes of windows")),
    window_strides: ints(n.ints(3, "strides")),
    base_dilations: ints(n.ints(4, "dilations")),
    window_dilations: ints(n.ints(5, "dilations")),
    padding: ints(n.ints(6, "paddings")),
  };
  return n.op("reduce_window", [n.in(0), n.in(1)], attrs, [n.out()], [n.region("computation", [dtype, dtype])]);
};

const variadicSort: Describe = (n) => {
  const count = n.node.inputs.length - 1;
  const pairs = n.ins(0, count).flatMap(({ type }) => [dtypeOf(n, type), dtypeOf(n, type)]);
  const [given] = n.ints(count, "dimension");
  const rank = n.shape(0)?.length ?? 0;
  const axis = given === undefined || given >= 0 ? (given ?? 0) : given + rank;
  return n.op("sort", n.ins(0, count), { dimension: int(axis) }, n.outputs, [n.region("comparator", pairs)]);
};

/** Along the last dimension, the smallest first, floats in the order of all of them; values go where their keys go. */
const sort: Describe = (n) => {
  const inputs = n.ins(0, n.node.inputs.length);
  const [first, second] = [value(n.dtype(0), []), value(n.dtype(0), [])];
  const others = inputs.slice(1).flatMap(({ type }) => [value(dtypeOf(n, type), []), value(dtypeOf(n, type), [])]);
  const isLess = value("bool", []);
  const compare = {
    comparison_direction: enumeration(DIRECTIONS.Less),
    compare_type: enumeration(n.dtype(0).includes("float") ? TOTAL_ORDER : FLOAT),
  };
  const ops = [hloOp("compare", [first, second], compare, [isLess]), hloOp("return", [isLess], {}, [])];
  const axis = (n.shape(0)?.length ?? 0) - 1;
  if (axis < 0) return inputs;
  return n.op("sort", inputs, { dimension: int(axis) }, n.outputs, [{ args: [first, second, ...others], ops }]);
};

/** Gives the operand of lower rank dimensions of one, so that both broadcast. */
const broadcastHelper: Describe = (n) => {
  const axes = n.ints(2, "dimensions");
  const sides = [n.in(0), n.in(1)];
  const [left, right] = [n.shape(0)!.length, n.shape(1)!.length];
  if (left === right || axes.length === 0) return sides;
  const narrow = left < right ? 0 : 1;
  const attrs = { broadcast_dimensions: ints(axes) };
  const [made] = n.op("broadcast_in_dim", [sides[narrow]!], attrs, [n.out(narrow)]);
  return narrow === 0 ? [made!, sides[1]!] : [sides[0]!, made!];
};

const reducePrecision: Describe = (n) => {
  const attrs = {
    exponent_bits: int(n.attrs.int("exponent_bits")),
    mantissa_bits: int(n.attrs.int("mantissa_bits")),
  };
  return n.op("reduce_precision", [n.in(0)], attrs, [n.out()]);
};

const DESCRIPTIONS: Readonly<Record<string, Describe>> = {
  XlaBroadcastHelper: broadcastHelper,
  XlaConv: convolution,
  XlaConvV2: convolution,
  XlaDot: dot,
  XlaDotV2: dot,
  XlaDynamicSlice: rowSlice,
  XlaGather: gather,
  XlaKeyValueSort: sort,
  XlaPad: pad,
  XlaReduce: reduce,
  XlaReducePrecision: reducePrecision,
  XlaReduceWindow: reduceWindow,
  XlaScatter: scatter,
  XlaSort: sort,
  XlaVariadicReduce: reduce,
  XlaVariadicReduceV2: reduce,
  XlaVariadicSort: variadicSort,
};

/** @returns undefined for an op that is none of these */
export function descriptionOf(op: string): Describe | undefined {
  return Object.hasOwn(DESCRIPTIONS, op) ? DESCRIPTIONS[op] : undefined;
}

export function describedOps(): Iterable<string> {
  return Object.keys(DESCRIPTIONS);
}
