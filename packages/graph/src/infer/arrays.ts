import type { Shape } from "../ir/attrs.js";
import {
  broadcast,
  each,
  knownCount,
  knownScalar,
  knownValues,
  merge,
  normalAxis,
  productDims,
  same,
  type ShapeCall,
  type ShapeFunction,
  shapeFromValue,
  sumDims,
  UNKNOWN,
  unknowns,
  withDim,
} from "./shapes.js";

/** Shapes of ops that ask for, change or fill a shape and leave the elements as they are. */
export const ARRAY_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    `ZerosLike OnesLike Cast Reverse ReverseV2 Roll ReverseSequence InvertPermutation MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
     MatrixBandPart InplaceUpdate InplaceAdd InplaceSub`,
    same(),
  ),
  Shape: (call) => [[call.shape(0)?.length ?? UNKNOWN]],
  ShapeN: (call) => call.inputs.map((info) => [info.shape?.length ?? UNKNOWN]),
  ...each(
    "Size Rank VarIsInitializedOp IsVariableInitialized TensorListLength LookupTableSize LookupTableSizeV2",
    () => [[]],
  ),
  EnsureShape: (call) => [merge(call.shape(0), call.attrs.shape("shape"))],
  Reshape: (call) => [reshape(call)],
  ExpandDims: (call) => [expandDims(call)],
  Squeeze: (call) => [squeeze(call.shape(0), call.attrs.ints("squeeze_dims"))],
  Transpose: (call) => [transpose(call)],
  ConjugateTranspose: (call) => [transpose(call)],
  Tile: (call) => [tile(call)],
  Fill: (call) => [shapeFromValue(call.value(0), call.shape(0))],
  BroadcastTo: (call) => [broadcast(call.shape(0), shapeFromValue(call.value(1), call.shape(1)))],
  BroadcastArgs: (call) => [[Math.max(call.shape(0)?.[0] ?? UNKNOWN, call.shape(1)?.[0] ?? UNKNOWN)]],
  Range: (call) => [[range(call)]],
  LinSpace: (call) => [[knownScalar(call.value(2)) ?? UNKNOWN]],
  ...each("Pad PadV2 MirrorPad", (call) => [pad(call)]),
  Diag: (call) => [call.shape(0) && [...call.shape(0)!, ...call.shape(0)!]],
  MatrixDiag: (call) => [call.shape(0) && [...call.shape(0)!, call.shape(0)!.at(-1)!]],
  ...each("MatrixDiagV2 MatrixDiagV3", (call) => [bandedMatrix(call.shape(0), knownValues(call.value(1)))]),
  MatrixDiagPart: (call) => [diagonal(call.shape(0))],
  SpaceToDepth: (call) => [
    blocks(
      call,
      (size, block) => Math.floor(size / block),
      (depth, block) => depth * block * block,
    ),
  ],
  DepthToSpace: (call) => [
    blocks(
      call,
      (size, block) => size * block,
      (depth, block) => Math.floor(depth / (block * block)),
    ),
  ],
  SpaceToBatchND: (call) => [spaceToBatch(call, 1)],
  BatchToSpaceND: (call) => [spaceToBatch(call, -1)],
  Bitcast: (call) => [call.dtypes[0] === call.inputs[0]?.dtype ? call.shape(0) : undefined],
};

function reshape(call: ShapeCall): Shape {
  const value = call.value(1);
  const input = call.shape(0);
  if (!value || value.shape.length !== 1) {
    return shapeFromValue(value, call.shape(1));
  }
  const dims = value.values.map((dim) => dim ?? UNKNOWN);
  // One unknown dimension (a -1, or an element nobody knows) follows from the element count.
  const open = value.values.flatMap((dim, i) => (dim === undefined || dim === -1 ? [i] : []));
  const count = knownCount(input);
  if (open.length === 1 && count !== undefined) {
    const rest = dims.reduce((product, dim, i) => (i === open[0] ? product : product * dim), 1);
    if (rest > 0 && count % rest === 0) return withDim(dims, open[0]!, count / rest);
  }
  // reshape(x, [-1, 8]) of x [?, 8] keeps its batch unknown; reshape(x [?, 4, 2], [-1, 8]) too.
  return dims.map((dim) => (dim < 0 ? UNKNOWN : dim));
}

function expandDims(call: ShapeCall): Shape {
  const input = call.shape(0);
  const axis = knownScalar(call.value(1));
  if (!input) return undefined;
  if (axis === undefined) return unknowns(input.length + 1);
  const at = normalAxis(axis, input.length + 1);
  return at === undefined ? undefined : [...input.slice(0, at), 1, ...input.slice(at)];
}

function squeeze(input: Shape, axes: readonly number[]): Shape {
  if (!input) return undefined;
  if (axes.length === 0) return input.includes(UNKNOWN) ? undefined : input.filter((dim) => dim !== 1);
  const dropped = new Set(axes.map((axis) => normalAxis(axis, input.length)));
  return input.filter((_, i) => !dropped.has(i));
}

function transpose(call: ShapeCall): Shape {
  const input = call.shape(0);
  const perm = knownValues(call.value(1));
  const rank = input?.length ?? (call.shape(1)?.[0] || UNKNOWN);
  if (perm && input && perm.length === input.length) return perm.map((axis) => input[axis] ?? UNKNOWN);
  return rank === UNKNOWN ? undefined : unknowns(rank);
}

function tile(call: ShapeCall): Shape {
  const input = call.shape(0);
  const multiples = call.value(1)?.values;
  const rank = input?.length ?? multiples?.length ?? UNKNOWN;
  if (rank === UNKNOWN) return undefined;
  return Array.from({ length: rank }, (_, i) => productDims([input?.[i] ?? UNKNOWN, multiples?.[i] ?? UNKNOWN]));
}

function range(call: ShapeCall): number {
  const [start, limit, delta] = [0, 1, 2].map((i) => knownScalar(call.value(i)));
  if (start === undefined || limit === undefined || !delta) return UNKNOWN;
  return Math.max(0, Math.ceil((limit - start) / delta));
}

function pad(call: ShapeCall): Shape {
  const input = call.shape(0);
  const paddings = call.value(1)?.values;
  const rank = input?.length ?? call.shape(1)?.[0] ?? UNKNOWN;
  if (rank === UNKNOWN) return undefined;
  return Array.from({ length: rank }, (_, i) => {
    const [before, after] = [paddings?.[2 * i], paddings?.[2 * i + 1]];
    return before === undefined || after === undefined ? UNKNOWN : sumDims([input?.[i] ?? UNKNOWN, before, after]);
  });
}

function blocks(
  call: ShapeCall,
  size: (dim: number, block: number) => number,
  depth: (dim: number, block: number) => number,
): Shape {
  const input = call.shape(0);
  if (input?.length !== 4) return undefined;
  const block = call.attrs.int("block_size");
  const channel = call.attrs.text("data_format") === "NCHW" ? 1 : 3;
  return input.map((dim, i) =>
    i === 0 || dim === UNKNOWN ? dim : i === channel ? depth(dim, block) : size(dim, block),
  );
}

function spaceToBatch(call: ShapeCall, direction: 1 | -1): Shape {
  const input = call.shape(0);
  if (!input) return undefined;
  const block = call.value(1)?.values;
  const edges = call.value(2)?.values;
  if (!block || !edges) return unknowns(input.length);
  const factor = block.reduce<number>((product, size) => (size === undefined ? Number.NaN : product * size), 1);
  return input.map((dim, i) => {
    if (dim === UNKNOWN) return UNKNOWN;
    if (i === 0) return Number.isNaN(factor) ? UNKNOWN : direction === 1 ? dim * factor : Math.floor(dim / factor);
    if (i > block.length) return dim;
    const [size, before, after] = [block[i - 1], edges[2 * (i - 1)], edges[2 * (i - 1) + 1]];
    if (size === undefined || before === undefined || after === undefined) return UNKNOWN;
    return direction === 1 ? Math.floor((dim + before + after) / size) : dim * size - before - after;
  });
}

/** Of one diagonal the rank grows by one; of several, one dimension counts them. */
function bandedMatrix(shape: Shape, diagonals: readonly number[] | undefined): Shape {
  if (!shape || !diagonals) return undefined;
  const isOne = diagonals.length < 2 || diagonals[0] === diagonals[1];
  return unknowns(isOne ? shape.length + 1 : shape.length);
}

function diagonal(shape: Shape): Shape {
  if (!shape || shape.length < 2) return undefined;
  const [rows, columns] = shape.slice(-2) as [number, number];
  return [...shape.slice(0, -2), rows === UNKNOWN || columns === UNKNOWN ? UNKNOWN : Math.min(rows, columns)];
}
