/** Positions and sizes of dimensions in another order of them: "NHWC" to "NCHW". */
import type { Tensor } from "@shardserve/tensor";
import { takeRuns, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData } from "../call/shapes.js";

/** @throws ServingError INVALID_ARGUMENT unless one is a permutation of the other */
function formatsOf(op: OpCall): [string, string] {
  const [source, target] = [op.attrs.text("src_format"), op.attrs.text("dst_format")];
  for (const [name, format] of [
    ["Source", source],
    ["Destination", target],
  ] as const) {
    check(
      format.length === 4 || format.length === 5,
      () => `${name} format must be of length 4 or 5, received ${format}`,
    );
  }
  const isPermutation =
    new Set(source).size === source.length && Array.from(source).sort().join() === Array.from(target).sort().join();
  check(isPermutation, () => `Destination and source format must determine a permutation, got ${source} and ${target}`);
  return [source, target];
}

/** Dimension numbers of the one as those of the other; of what lies before the first, C++ finds a negative rest, and takes the last. */
function dimMap(op: OpCall): Tensor[] {
  const [source, target] = formatsOf(op);
  const { dtype, shape, data } = op.tensor(0);
  const rank = source.length;
  const places = Array.from(source, (dim) => target.indexOf(dim));
  const rests =
    data instanceof BigInt64Array
      ? Array.from(data, (axis) => Number(BigInt.asIntN(64, axis + BigInt(rank)) % BigInt(rank)))
      : Array.from(data as Int32Array, (axis) => ((axis + rank) | 0) % rank);
  const mapped = rests.map((rest) => places[rest] ?? places[rank - 1]!);
  return [withData(dtype, shape, indexData(dtype, mapped))];
}

/** Sizes (or pairs) by dimension: of all, or of those in space alone. */
function vecPermute(op: OpCall): Tensor[] {
  let [source, target] = formatsOf(op);
  const value = op.tensor(0);
  const { shape } = value;
  check(
    shape.length === 1 || shape.length === 2,
    () => `input must be a vector or 2D tensor, but got shape ${printShape(shape)}`,
  );
  const inSpace = source.length - 2;
  const sizes = [inSpace, source.length];
  check(
    sizes.includes(shape[0]!),
    () => `First dimension of the input must be of size ${sizes.join(" or ")}, but got shape ${printShape(shape)}`,
  );
  check(
    shape.length === 1 || shape[1] === 2,
    () => `Second dimension of 2D input must be of size 2, but got shape ${printShape(shape)}`,
  );
  if (shape[0] === inSpace) {
    [source, target] = [source.replace(/[^DHW]/g, ""), target.replace(/[^DHW]/g, "")];
    check(source.length === inSpace, () => "Format specifier must contain H and W for 2D case");
  }
  const run = shape.length;
  const starts = Array.from(target, (dim) => run * source.indexOf(dim));
  return [takeRuns(value, starts, run, shape)];
}

export const DATA_FORMAT_KERNELS: Readonly<Record<string, Kernel>> = {
  DataFormatDimMap: dimMap,
  DataFormatVecPermute: vecPermute,
};
