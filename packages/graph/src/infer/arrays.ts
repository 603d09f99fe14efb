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
  repeat,
  same,
  type ShapeCall,
  type ShapeFunction,
  shapeFromValue,
  sumDims,
  UNKNOWN,
  unknowns,
  withDim,
} from "./shapes.js";
import { sliceAxes, sliceRange } from "./strided-slice.js";

/** Shapes of ops that move, cut, join and count elements. */
export const ARRAY_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    `Identity StopGradient PreventGradient GuaranteeConst Snapshot CheckNumerics CheckNumericsV2 PlaceholderWithDefault ZerosLike OnesLike
     Cast Reverse ReverseV2 Roll ReverseSequence Print InvertPermutation DebugIdentity DebugIdentityV2 DebugIdentityV3 Enter RefEnter Exit NextIteration
     RefIdentity LoopCond Copy CopyHost DeepCopy MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixBandPart UnicodeScript
     InplaceUpdate InplaceAdd InplaceSub`,
    same(),
  ),
  IdentityN: (call) => call.inputs.map((info) => info.shape),
  Const: (call) => [call.attrs.tensor("value").shape],
  // On reads of host-state variables the compiler sets the shape that their handle states.
  ...each("Placeholder ReadVariableOp", (call) => [call.attrs.has("shape") ? call.attrs.shape("shape") : undefined]),
  ...each("Assign AssignAdd AssignSub TridiagonalSolve", same(1)),
  ...each("ToBool DeviceIndex", () => [[]]),
  ...each(
    `ScatterUpdate ScatterAdd ScatterSub ScatterMul ScatterDiv ScatterMax ScatterMin
     ScatterNdUpdate ScatterNdAdd ScatterNdSub ScatterNdMax ScatterNdMin StridedSliceAssign`,
    same(),
  ),
  TridiagonalMatMul: same(3),
  EncodePng: (call) => [call.shape(0)?.slice(0, -3)],
  ...each("EncodeJpeg EncodeJpegVariableQuality", () => [[]]),
  ExtractJpegShape: () => [[3]],
  Variable: (call) => [call.attrs.shape("shape")],
  GatherRows: (call) => {
    const [rows, slots] = [call.shape(0), call.shape(1)];
    return [rows && slots ? [...slots, ...rows.slice(1)] : undefined];
  },
  Lookup: (call) => [[UNKNOWN, ...call.attrs.shape("rowShape")!], call.shape(0)],
  Shape: (call) => [[call.shape(0)?.length ?? UNKNOWN]],
  ShapeN: (call) => call.inputs.map((info) => [info.shape?.length ?? UNKNOWN]),
  ...each(
    "Size Rank VarIsInitializedOp IsVariableInitialized TensorListLength LookupTableSize LookupTableSizeV2",
    () => [[]],
  ),
  EnsureShape: (call) => [merge(call.shape(0), call.attrs.shape("shape"))],
  ...each("Loop Branch", (call) => call.attrs.shapes("shapes")),
  // A loop whose regions are not formed yet, as TensorFlow states it.
  ...each("While StatelessWhile If StatelessIf Case StatelessCase", (call) => {
    const stated = call.attrs.has("output_shapes") ? call.attrs.shapes("output_shapes") : [];
    return stated.length === call.dtypes.length ? stated : [];
  }),
  ...each(
    "TensorListReserve TensorListFromTensor TensorListSetItem TensorListPushBack EmptyTensorList TensorListResize " +
      "TensorListScatter TensorListScatterV2 TensorListScatterIntoExistingList TensorListSplit TensorListPushBackBatch " +
      "TensorArraySizeV3",
    () => [[]],
  ),
  TensorListGetItem: (call) => [elementShape(call, 2)],
  TensorListPopBack: (call) => [[], elementShape(call, 1)],
  ...each("TensorListStack", (call) => [leading(elementShape(call, 1), UNKNOWN)]),
  TensorListGather: (call) => [leading(elementShape(call, 2), call.shape(1)?.[0] ?? UNKNOWN)],
  TensorListConcatV2: (call) => {
    const shape = elementShape(call, 1);
    return [shape && [UNKNOWN, ...shape.slice(1)], [UNKNOWN]];
  },
  TensorListConcat: (call) => {
    const shape = call.attrs.shape("element_shape");
    return [shape && shape.length > 0 ? [UNKNOWN, ...shape.slice(1)] : undefined, [UNKNOWN]];
  },
  TensorListElementShape: () => [undefined],
  TensorArrayGatherV3: (call) => [leading(call.attrs.shape("element_shape"), call.shape(1)?.[0] ?? UNKNOWN)],
  Switch: (call) => [call.shape(0), call.shape(0)],
  RefSwitch: (call) => [call.shape(0), call.shape(0)],
  Merge: (call) => [agree(call.inputs.map((info) => info.shape)), []],
  Reshape: (call) => [reshape(call)],
  ExpandDims: (call) => [expandDims(call)],
  Squeeze: (call) => [squeeze(call.shape(0), call.attrs.ints("squeeze_dims"))],
  Transpose: (call) => [transpose(call)],
  ConjugateTranspose: (call) => [transpose(call)],
  Pack: (call) => [pack(call)],
  Unpack: (call) => unpack(call),
  ConcatV2: (call) => [
    concat(
      call,
      call.inputs.slice(0, -1).map((info) => info.shape),
      knownScalar(call.value(call.inputs.length - 1)),
    ),
  ],
  Concat: (call) => [
    concat(
      call,
      call.inputs.slice(1).map((info) => info.shape),
      knownScalar(call.value(0)),
    ),
  ],
  Split: (call) => split(call),
  SplitV: (call) => splitV(call),
  Slice: (call) => [slice(call)],
  StridedSlice: (call) => [stridedSlice(call)],
  Tile: (call) => [tile(call)],
  Fill: (call) => [shapeFromValue(call.value(0), call.shape(0))],
  BroadcastTo: (call) => [broadcast(call.shape(0), shapeFromValue(call.value(1), call.shape(1)))],
  BroadcastArgs: (call) => [[Math.max(call.shape(0)?.[0] ?? UNKNOWN, call.shape(1)?.[0] ?? UNKNOWN)]],
  Range: (call) => [[range(call)]],
  LinSpace: (call) => [[knownScalar(call.value(2)) ?? UNKNOWN]],
  ...each("Pad PadV2 MirrorPad", (call) => [pad(call)]),
  Gather: (call) => [gather(call.shape(0), call.shape(1), 0, 0)],
  GatherV2: (call) => [gather(call.shape(0), call.shape(1), knownScalar(call.value(2)), call.attrs.int("batch_dims"))],
  GatherNd: (call) => [gatherNd(call.shape(0), call.shape(1))],
  ScatterNd: (call) => [shapeFromValue(call.value(2), call.shape(2))],
  ...each("TensorScatterUpdate TensorScatterAdd TensorScatterSub TensorScatterMax TensorScatterMin", same()),
  XlaDynamicSlice: (call) => [shapeFromValue(call.value(2), call.shape(2))],
  XlaDynamicUpdateSlice: same(),
  OneHot: (call) => [oneHot(call)],
  Where: (call) => [[UNKNOWN, call.shape(0)?.length ?? UNKNOWN]],
  Unique: (call) => [[UNKNOWN], call.shape(0)],
  UniqueV2: (call) => [call.shape(0) && unknowns(call.shape(0)!.length), [UNKNOWN]],
  UniqueWithCounts: (call) => [[UNKNOWN], call.shape(0), [UNKNOWN]],
  UniqueWithCountsV2: (call) => [call.shape(0) && unknowns(call.shape(0)!.length), [UNKNOWN], [UNKNOWN]],
  ListDiff: () => [[UNKNOWN], [UNKNOWN]],
  DynamicPartition: (call) => dynamicPartition(call),
  DynamicStitch: (call) => [dynamicStitch(call)],
  ParallelDynamicStitch: (call) => [dynamicStitch(call)],
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
  SearchSorted: same(1),
  UpperBound: same(1),
  LowerBound: same(1),
};

/** The shape that all agree on: unknown where they differ. */
export function agree(shapes: readonly Shape[]): Shape {
  const [first, ...rest] = shapes;
  if (!first || rest.some((shape) => shape?.length !== first.length)) return undefined;
  return first.map((dim, i) => (rest.every((shape) => shape![i] === dim) ? dim : UNKNOWN));
}

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

function pack(call: ShapeCall): Shape {
  const item = call.inputs.map((info) => info.shape).reduce(merge);
  if (!item) return undefined;
  const axis = normalAxis(call.attrs.int("axis"), item.length + 1);
  return axis === undefined ? undefined : [...item.slice(0, axis), call.inputs.length, ...item.slice(axis)];
}

function unpack(call: ShapeCall): Shape[] {
  const input = call.shape(0);
  const axis = input && normalAxis(call.attrs.int("axis"), input.length);
  const item = axis === undefined ? undefined : input!.filter((_, i) => i !== axis);
  return repeat<Shape>(item, call.attrs.int("num"));
}

function concat(call: ShapeCall, shapes: readonly Shape[], axis: number | undefined): Shape {
  const known = shapes.find((shape) => shape !== undefined);
  if (!known) return undefined;
  const at = axis === undefined ? undefined : normalAxis(axis, known.length);
  if (at === undefined) return unknowns(known.length);
  const rest = shapes.map((shape): Shape => shape && withDim(shape, at, UNKNOWN)).reduce(merge)!;
  return withDim(rest, at, sumDims(shapes.map((shape) => shape?.[at] ?? UNKNOWN)));
}

function split(call: ShapeCall): Shape[] {
  const count = call.attrs.int("num_split");
  const input = call.shape(1);
  const axis = knownScalar(call.value(0));
  const at = input && axis !== undefined ? normalAxis(axis, input.length) : undefined;
  const part =
    at === undefined
      ? input && unknowns(input.length)
      : withDim(input!, at, input![at]! === UNKNOWN ? UNKNOWN : Math.floor(input![at]! / count));
  return repeat<Shape>(part, count);
}

function splitV(call: ShapeCall): Shape[] {
  const count = call.attrs.int("num_split");
  const input = call.shape(0);
  const axis = knownScalar(call.value(2));
  const at = input && axis !== undefined ? normalAxis(axis, input.length) : undefined;
  if (at === undefined) return repeat<Shape>(input && unknowns(input.length), count);
  const sizes = call.value(1)?.values ?? [];
  const known = sizes.reduce<number>((sum, size) => sum + Math.max(size ?? 0, 0), 0);
  return Array.from({ length: count }, (_, i) => {
    const size = sizes[i];
    if (size !== undefined && size >= 0) return withDim(input!, at, size);
    const inferable = input![at] !== UNKNOWN && sizes.length === count && !sizes.includes(undefined);
    return withDim(input!, at, inferable ? input![at]! - known : UNKNOWN);
  });
}

function slice(call: ShapeCall): Shape {
  const input = call.shape(0);
  const [begin, size] = [call.value(1), call.value(2)];
  const rank = input?.length ?? size?.values.length ?? begin?.values.length ?? call.shape(1)?.[0] ?? UNKNOWN;
  if (rank === UNKNOWN) return undefined;
  return Array.from({ length: rank }, (_, i) => {
    const wanted = size?.values[i];
    if (wanted === undefined) return UNKNOWN;
    if (wanted >= 0) return wanted;
    const start = begin?.values[i];
    const dim = input?.[i] ?? UNKNOWN;
    return start === undefined || dim === UNKNOWN ? UNKNOWN : dim - start;
  });
}

function stridedSlice(call: ShapeCall): Shape {
  const input = call.shape(0);
  if (!input) return undefined;
  const count = call.shape(1)?.[0] ?? UNKNOWN;
  if (count === UNKNOWN) return undefined;
  const values = (i: number): readonly (number | undefined)[] => call.value(i)?.values ?? repeat(undefined, count);
  const axes = sliceAxes(call.attrs, { begin: values(1), end: values(2), strides: values(3) }, input.length);
  return axes?.flatMap((axis) => {
    if (axis.shrink) return [];
    if (axis.input === undefined) return [1];
    const dim = input[axis.input]!;
    if (axis.beginMask && axis.endMask && axis.stride === 1) return [dim];
    return [dim === UNKNOWN ? UNKNOWN : (sliceRange(axis, dim)?.count ?? UNKNOWN)];
  });
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

export function gather(params: Shape, indices: Shape, axis: number | undefined, batchDims: number): Shape {
  if (!params || !indices) return undefined;
  const batch = batchDims < 0 ? batchDims + indices.length : batchDims;
  const at = axis === undefined ? undefined : normalAxis(axis, params.length);
  if (at === undefined) return unknowns(params.length + indices.length - batch - 1);
  return [...params.slice(0, at), ...indices.slice(batch), ...params.slice(at + 1)];
}

function gatherNd(params: Shape, indices: Shape): Shape {
  const depth = indices?.at(-1) ?? UNKNOWN;
  if (!params || !indices || depth === UNKNOWN) return undefined;
  return [...indices.slice(0, -1), ...params.slice(depth)];
}

function oneHot(call: ShapeCall): Shape {
  const indices = call.shape(0);
  if (!indices) return undefined;
  const axis = call.attrs.int("axis");
  const at = axis === -1 ? indices.length : axis;
  return [...indices.slice(0, at), knownScalar(call.value(1)) ?? UNKNOWN, ...indices.slice(at)];
}

function dynamicPartition(call: ShapeCall): Shape[] {
  const [data, partitions] = [call.shape(0), call.shape(1)];
  const part = data && partitions ? [UNKNOWN, ...data.slice(partitions.length)] : undefined;
  return repeat<Shape>(part, call.attrs.int("num_partitions"));
}

function dynamicStitch(call: ShapeCall): Shape {
  const count = call.inputs.length / 2;
  for (let i = 0; i < count; i++) {
    const [indices, data] = [call.shape(i), call.shape(count + i)];
    if (indices && data) return [UNKNOWN, ...data.slice(indices.length)];
  }
  return undefined;
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

/** The partial shape that input `i` of a list op holds: -1 for an unknown rank or dimension. */
function elementShape(call: ShapeCall, i: number): Shape {
  const value = call.value(i);
  if (value?.shape.length !== 1) return undefined;
  return value.values.map((dim) => (dim === undefined || dim < 0 ? UNKNOWN : dim));
}

function leading(shape: Shape, count: number): Shape {
  return shape && [count, ...shape];
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
