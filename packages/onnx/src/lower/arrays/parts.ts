/** Tensors joined, and cut into parts. */
import type { Value } from "../../proto/value.js";
import { concat, equal, intVector, rankOf, shapeOf, where, unchangedUnless } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/** Joins values along an axis. Ranks that differ kill the process inside ONNX Runtime, so they are checked before. */
function join(from: number, to: number | undefined, axisAt: (n: NodeLowering) => number): Lower {
  return (n) => concat(n.b, ofOneRank(n, from, to), n.needNumber(axisAt(n)));
}

/** Inputs `from` to `to`, which must have the same rank. */
function ofOneRank(n: NodeLowering, from: number, to: number | undefined): Value[] {
  const { b } = n;
  const values = n.inputs.slice(from, to);
  if (values.length === 1) return values;
  const ranks = values.map((_, i) => n.rank(from + i));
  const known = ranks.find((rank) => rank !== undefined);
  if (ranks.some((rank) => rank !== undefined && rank !== known)) n.fail("inputs of different ranks");
  const wanted = known === undefined ? rankOf(b, values[0]!) : b.ints([known]);
  return values.map((value, i) => {
    if (ranks[i] !== undefined || (known === undefined && i === 0)) return value;
    return unchangedUnless(n.b, value, b.op("Not", [equal(b, rankOf(b, value), wanted)]));
  });
}

const pack: Lower = (n) => {
  const axis = n.attrs.int("axis");
  const values = ofOneRank(n, 0, undefined);
  const shape = packedShape(n, axis);
  if (shape) return n.b.op("Reshape", [concat(n.b, values, shape.axis), n.b.ints(shape.dims)]);
  const axes = n.b.ints([axis]);
  return concat(
    n.b,
    values.map((value) => n.b.op("Unsqueeze", [value, axes])),
    axis,
  );
};

/**
 * What a Reshape makes of inputs that were joined along `axis`, so that they lie as Pack wants them: one node in the place of
 * one for each input. Undefined where the lengths from there on are not known to be the same in all.
 */
function packedShape(n: NodeLowering, axis: number): { readonly axis: number; readonly dims: number[] } | undefined {
  const first = n.shape(0);
  if (!first || n.inputs.length === 1) return undefined;
  const at = axis < 0 ? axis + first.length + 1 : axis;
  const inner = first.slice(at);
  if (inner.length === 0 || !inner.every((length) => length > 0)) return undefined; // to Reshape a 0 says "as it was"
  for (let i = 1; i < n.inputs.length; i++) {
    if (!inner.every((length, k) => n.shape(i)?.[at + k] === length)) return undefined;
  }
  return { axis: at, dims: [...Array<number>(at).fill(0), n.inputs.length, ...inner] };
}

const unpack: Lower = (n) => {
  const count = n.attrs.int("num");
  const axis = n.attrs.int("axis");
  if (count === 0) return [];
  const sizes = n.b.ints(Array.from({ length: count }, () => 1));
  const parts = n.b.ops("Split", [n.x(0), sizes], Array(count).fill(n.dtype(0)), { axis });
  return parts.map((part) => n.b.op("Squeeze", [part, n.b.ints([axis])]));
};

/** Equal parts; the sizes are computed, because ONNX would silently make the last part smaller. */
const split: Lower = (n) => {
  const count = n.attrs.int("num_split");
  const axis = n.needNumber(0);
  const rank = n.rank(1);
  if (count === 1) return rank !== undefined && axis < rank && axis >= -rank ? n.x(1) : n.fail("axis out of range");
  const length = n.dim(1, axis);
  const sizes =
    length === undefined
      ? n.b.op("Expand", [
          n.b.op("Div", [n.b.op("Gather", [shapeOf(n.b, n.x(1)), n.b.ints([axis])]), n.b.ints([count])]),
          n.b.ints([count]),
        ])
      : n.b.ints(Array.from({ length: count }, () => Math.floor(length / count)));
  return n.b.ops("Split", [n.x(1), sizes], Array(count).fill(n.dtype(1)), { axis });
};

const splitV: Lower = (n) => {
  const axis = n.needNumber(2);
  const known = n.numbers(1);
  let sizes = intVector(n.b, n.x(1));
  if (!known || known.includes(-1)) {
    const length = n.b.op("Gather", [shapeOf(n.b, n.x(0)), n.b.ints([axis])]);
    const minusOne = n.b.scalar("int64", -1);
    // The -1 entry counts in the sum, so the rest is length - sum - 1.
    const rest = n.b.op("Add", [n.b.op("Sub", [length, n.b.op("ReduceSum", [sizes], { keepdims: 1 })]), minusOne]);
    sizes = where(n.b, equal(n.b, sizes, minusOne), rest, sizes);
  }
  return n.b.ops("Split", [n.x(0), sizes], Array(n.outputCount).fill(n.dtype(0)), { axis });
};

export const parts: LoweringTable = {
  ConcatV2: join(0, -1, (n) => n.inputs.length - 1),
  Concat: join(1, undefined, () => 0),
  Pack: pack,
  Unpack: unpack,
  Split: split,
  SplitV: splitV,
};
