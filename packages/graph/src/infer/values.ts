import { elementCount, type Tensor } from "@shardserve/tensor";
import type { Attrs, Shape } from "../ir/attrs.js";
import {
  knownCount,
  knownScalar,
  knownValues,
  normalAxis,
  PARTIAL_ELEMENTS_MAX,
  type PartialValue,
  repeat,
  type ShapeCall,
  UNKNOWN,
} from "./shapes.js";
import { sliceAxes, sliceRange } from "./strided-slice.js";

type Item = number | undefined;
/** Known elements of every output; undefined = nothing known. `outputs` are the output shapes, inferred before. */
type ValueFunction = (call: ShapeCall, outputs: readonly Shape[]) => readonly (PartialValue | undefined)[];

/** Integer elements of a constant, when they are few and exact. */
export function valueOfTensor(value: Tensor): PartialValue | undefined {
  if (value.dtype !== "int32" && value.dtype !== "int64") return undefined;
  if (elementCount(value.shape) > PARTIAL_ELEMENTS_MAX) return undefined;
  const values = Array.from(value.data as Int32Array | BigInt64Array, (item: number | bigint) => Number(item));
  return values.every(Number.isSafeInteger) ? { shape: value.shape, values } : undefined;
}

/** Which of the devices that a layer was traced for this is, as `DeviceIndex` says it: a CPU; their number where none is. */
export function deviceIndex(attrs: Attrs): number {
  const names = attrs.texts("device_names");
  const index = names.indexOf("CPU");
  return index < 0 ? names.length : index;
}

/** How shape arithmetic carries known elements on. Ops that stand here are pure: a fully known output is a constant. */
export const VALUE_FUNCTIONS: Readonly<Record<string, ValueFunction>> = {
  ...named(
    "Identity StopGradient Snapshot PreventGradient GuaranteeConst PlaceholderWithDefault EnsureShape Cast",
    (call) => [call.value(0)],
  ),
  IdentityN: (call) => call.inputs.map((_, i) => call.value(i)),
  DeviceIndex: (call) => [scalar(deviceIndex(call.attrs))],
  Shape: (call) => [shapeValue(call.shape(0))],
  ShapeN: (call) => call.inputs.map((info) => shapeValue(info.shape)),
  Size: (call) => [scalar(knownCount(call.shape(0)))],
  Rank: (call) => [scalar(call.shape(0)?.length)],
  Pack: (call) => [pack(call)],
  Unpack: (call) => unpack(call),
  ConcatV2: (call) => [concat(call, 0, call.inputs.length - 1)],
  Concat: (call) => [concat(call, 1, call.inputs.length)],
  StridedSlice: (call) => [stridedSlice(call)],
  Slice: (call, [shape]) => [slice(call, shape)],
  Gather: (call, [shape]) => [gather(call, shape, 0)],
  GatherV2: (call, [shape]) => [
    knownScalar(call.value(2)) === 0 && call.attrs.int("batch_dims") === 0 ? gather(call, shape, 0) : undefined,
  ],
  ...named("Reshape ExpandDims Squeeze", (call, [shape]) => [reshaped(call.value(0), shape)]),
  Fill: (call, [shape]) => [fill(call, shape)],
  Range: (call) => [range(call)],
  ...named("Add AddV2", (call) => [pairwise(call, (a, b) => a + b)]),
  Sub: (call) => [pairwise(call, (a, b) => a - b)],
  Mul: (call) => [pairwise(call, (a, b) => a * b)],
  Maximum: (call) => [pairwise(call, Math.max)],
  Minimum: (call) => [pairwise(call, Math.min)],
  FloorDiv: (call) => [pairwise(call, (a, b) => (b === 0 ? undefined : Math.floor(a / b)))],
  FloorMod: (call) => [pairwise(call, (a, b) => (b === 0 ? undefined : a - b * Math.floor(a / b)))],
  Neg: (call) => [mapped(call.value(0), (item) => -item)],
  Prod: (call) => [reduced(call, (items) => items.reduce((a, b) => a * b, 1))],
  Sum: (call) => [reduced(call, (items) => items.reduce((a, b) => a + b, 0))],
  Max: (call) => [reduced(call, (items) => (items.length === 0 ? undefined : Math.max(...items)))],
  Min: (call) => [reduced(call, (items) => (items.length === 0 ? undefined : Math.min(...items)))],
  BroadcastArgs: (call) => [broadcastArgs(call)],
};

function named(names: string, value: ValueFunction): Record<string, ValueFunction> {
  return Object.fromEntries(names.split(" ").map((name) => [name, value]));
}

function scalar(value: Item): PartialValue {
  return { shape: [], values: [value] };
}

function vector(values: readonly Item[]): PartialValue | undefined {
  return values.length > PARTIAL_ELEMENTS_MAX ? undefined : { shape: [values.length], values };
}

function shapeValue(shape: Shape): PartialValue | undefined {
  return shape && vector(shape.map((dim) => (dim === UNKNOWN ? undefined : dim)));
}

function mapped(value: PartialValue | undefined, map: (item: number) => Item): PartialValue | undefined {
  return (
    value && { shape: value.shape, values: value.values.map((item) => (item === undefined ? undefined : map(item))) }
  );
}

/** Known elements in another shape of the same count. */
function reshaped(value: PartialValue | undefined, shape: Shape): PartialValue | undefined {
  return value && shape && knownCount(shape) === value.values.length ? { shape, values: value.values } : undefined;
}

function pack(call: ShapeCall): PartialValue | undefined {
  if (call.inputs.some((info) => info.shape?.length !== 0)) return undefined;
  return vector(call.inputs.map((_, i) => knownScalar(call.value(i))));
}

function unpack(call: ShapeCall): (PartialValue | undefined)[] {
  const value = call.value(0);
  return Array.from({ length: Math.min(call.attrs.int("num"), PARTIAL_ELEMENTS_MAX) }, (_, i) =>
    value?.shape.length === 1 ? scalar(value.values[i]) : undefined,
  );
}

function concat(call: ShapeCall, start: number, end: number): PartialValue | undefined {
  const parts = call.inputs.slice(start, end).map((info, i) => {
    if (info.shape?.length !== 1) return undefined;
    const known = call.value(start + i)?.values;
    return (
      known ??
      (info.shape[0]! === UNKNOWN || info.shape[0]! > PARTIAL_ELEMENTS_MAX
        ? undefined
        : repeat<Item>(undefined, info.shape[0]!))
    );
  });
  return parts.includes(undefined) ? undefined : vector(parts.flatMap((part) => part!));
}

function stridedSlice(call: ShapeCall): PartialValue | undefined {
  const value = call.value(0);
  const [begin, end, strides] = [1, 2, 3].map((i) => call.value(i)?.values);
  if (value?.shape.length !== 1 || !begin || !end || !strides) return undefined;
  const axes = sliceAxes(call.attrs, { begin, end, strides }, 1);
  const axis = axes?.length === 1 ? axes[0] : undefined;
  const range = axis && sliceRange(axis, value.values.length);
  if (!range) return undefined;
  const picked = Array.from({ length: range.count }, (_, i) => value.values[range.first + i * range.step]);
  return axis.shrink ? scalar(picked[0]) : vector(picked);
}

function slice(call: ShapeCall, shape: Shape): PartialValue | undefined {
  const value = call.value(0);
  const begin = knownScalar(call.value(1));
  if (value?.shape.length !== 1 || begin === undefined || shape?.length !== 1 || shape[0] === UNKNOWN) return undefined;
  return vector(value.values.slice(begin, begin + shape[0]!));
}

function gather(call: ShapeCall, shape: Shape, axis: number): PartialValue | undefined {
  const [params, indices] = [call.value(0), call.value(1)];
  if (params?.shape.length !== 1 || axis !== 0 || !indices || !shape || shape.includes(UNKNOWN)) return undefined;
  return { shape, values: indices.values.map((index) => (index === undefined ? undefined : params.values[index])) };
}

function fill(call: ShapeCall, shape: Shape): PartialValue | undefined {
  const count = knownCount(shape);
  const value = knownScalar(call.value(1));
  if (!shape || count === undefined || count > PARTIAL_ELEMENTS_MAX || value === undefined) return undefined;
  return { shape, values: repeat<Item>(value, count) };
}

function range(call: ShapeCall): PartialValue | undefined {
  const [start, limit, delta] = [0, 1, 2].map((i) => knownScalar(call.value(i)));
  if (start === undefined || limit === undefined || !delta) return undefined;
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (count > PARTIAL_ELEMENTS_MAX) return undefined;
  return vector(Array.from({ length: count }, (_, i) => start + i * delta));
}

/** Equal shapes, or a scalar with anything: what shape arithmetic does. */
function pairwise(call: ShapeCall, combine: (a: number, b: number) => Item): PartialValue | undefined {
  const [a, b] = [call.value(0), call.value(1)];
  if (!a || !b) return undefined;
  const apply = (left: Item, right: Item): Item =>
    left === undefined || right === undefined ? undefined : combine(left, right);
  if (a.shape.length === 0) return { shape: b.shape, values: b.values.map((item) => apply(a.values[0], item)) };
  if (b.shape.length === 0) return { shape: a.shape, values: a.values.map((item) => apply(item, b.values[0])) };
  if (a.shape.length !== b.shape.length || a.shape.some((dim, i) => dim !== b.shape[i])) return undefined;
  return { shape: a.shape, values: a.values.map((item, i) => apply(item, b.values[i])) };
}

/** A reduction of a whole vector. */
function reduced(call: ShapeCall, combine: (items: readonly number[]) => Item): PartialValue | undefined {
  const value = call.value(0);
  const axes = knownValues(call.value(1));
  if (value?.shape.length !== 1 || axes?.length !== 1 || normalAxis(axes[0]!, 1) !== 0) return undefined;
  const items = knownValues(value);
  const result = items && combine(items);
  return { shape: call.attrs.bool("keep_dims") ? [1] : [], values: [result] };
}

function broadcastArgs(call: ShapeCall): PartialValue | undefined {
  const [a, b] = [call.value(0)?.values, call.value(1)?.values];
  if (!a || !b) return undefined;
  const rank = Math.max(a.length, b.length);
  return vector(
    Array.from({ length: rank }, (_, i): Item => {
      const left = i - rank + a.length < 0 ? 1 : a[i - rank + a.length];
      const right = i - rank + b.length < 0 ? 1 : b[i - rank + b.length];
      if (left === 1) return right;
      if (right === 1) return left;
      return left === undefined || right === undefined || left !== right ? (left === right ? left : undefined) : left;
    }),
  );
}
