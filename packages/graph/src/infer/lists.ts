import type { Shape } from "../ir/attrs.js";
import { each, type ShapeCall, type ShapeFunction, UNKNOWN } from "./shapes.js";

/** Shapes of ops on lists of tensors; of a list itself, and of a TensorArray, only the handle has one. */
export const LIST_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    "TensorListReserve TensorListFromTensor TensorListSetItem TensorListPushBack EmptyTensorList TensorListResize " +
      "TensorListScatter TensorListScatterV2 TensorListScatterIntoExistingList TensorListSplit " +
      "TensorArraySizeV3",
    () => [[]],
  ),
  ...each("TensorListPushBackBatch TensorListConcatLists", (call) => [call.shape(0)]),
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
};

/** The partial shape that input `i` of a list op holds: -1 for an unknown rank or dimension. */
function elementShape(call: ShapeCall, i: number): Shape {
  const value = call.value(i);
  if (value?.shape.length !== 1) return undefined;
  return value.values.map((dim) => (dim === undefined || dim < 0 ? UNKNOWN : dim));
}

function leading(shape: Shape, count: number): Shape {
  return shape && [count, ...shape];
}
