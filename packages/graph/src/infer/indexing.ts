import type { Shape } from "../ir/attrs.js";
import {
  each,
  knownScalar,
  normalAxis,
  repeat,
  same,
  type ShapeCall,
  type ShapeFunction,
  shapeFromValue,
  UNKNOWN,
  unknowns,
} from "./shapes.js";

/** Shapes of ops that pick, place, search and partition by index. */
export const INDEXING_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  Gather: (call) => [gather(call.shape(0), call.shape(1), 0, 0)],
  GatherV2: (call) => [gather(call.shape(0), call.shape(1), knownScalar(call.value(2)), call.attrs.int("batch_dims"))],
  GatherNd: (call) => [gatherNd(call.shape(0), call.shape(1))],
  ScatterNd: (call) => [shapeFromValue(call.value(2), call.shape(2))],
  ...each("TensorScatterUpdate TensorScatterAdd TensorScatterSub TensorScatterMax TensorScatterMin", same()),
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
  SearchSorted: same(1),
  UpperBound: same(1),
  LowerBound: same(1),
};

function gather(params: Shape, indices: Shape, axis: number | undefined, batchDims: number): Shape {
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
