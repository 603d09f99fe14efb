import { ServingError } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";
import type { Attrs, Shape } from "../ir/attrs.js";
import type { GraphNode, ValueInfo } from "../ir/ir.js";

/**
 * Elements of a small integer tensor as far as they are known: row-major, undefined = unknown. Carried beside shapes, so
 * that `reshape(x, [shape(x)[0], 8])` has a known rank.
 */
export interface PartialValue {
  readonly shape: readonly number[];
  readonly values: readonly (number | undefined)[];
}

/** Tensors of more elements than this are not followed. */
export const PARTIAL_ELEMENTS_MAX = 256;

/** What a shape function sees. */
export interface ShapeCall {
  readonly node: GraphNode;
  readonly attrs: Attrs;
  readonly inputs: readonly ValueInfo[];
  readonly dtypes: readonly DType[];
  /** Shape of input i; unknown rank when there is no such input. */
  shape(i: number): Shape;
  /** Known elements of input i, for integers. */
  value(i: number): PartialValue | undefined;
}

/** Shapes of all outputs; fewer than the op has means unknown. */
export type ShapeFunction = (call: ShapeCall) => readonly Shape[];

export const UNKNOWN = -1;

/** A shape of unknown dimensions. */
export function unknowns(rank: number): number[] {
  return repeat(UNKNOWN, rank);
}

/** Nodes with more outputs, and shapes of more dimensions, do not exist outside of broken or hostile graphs. */
const REPEAT_MAX = 65_536;

/**
 * `count` times the same.
 *
 * @throws ServingError GRAPH_INVALID for a count that no graph has
 */
export function repeat<T>(value: T, count: number): T[] {
  if (!(count >= 0 && count <= REPEAT_MAX)) throw new ServingError("GRAPH_INVALID", `a node asks for ${count} values`);
  return Array.from({ length: count }, () => value);
}

/** The element count of a shape, undefined when a dimension is unknown. */
export function knownCount(shape: Shape): number | undefined {
  if (!shape || shape.includes(UNKNOWN)) return undefined;
  return shape.reduce((a, b) => a * b, 1);
}

/** What two statements about one shape say together; on a contradiction the first wins (the run will fail). */
export function merge(a: Shape, b: Shape): Shape {
  if (!a) return b;
  if (!b || a.length !== b.length) return a;
  return a.map((dim, i) => (dim === UNKNOWN ? b[i]! : dim));
}

/** NumPy's broadcasting; an unknown dimension against one above 1 must be 1 or equal to it. */
export function broadcast(a: Shape, b: Shape): Shape {
  if (!a || !b) return undefined;
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const left = a[i - rank + a.length] ?? 1;
    const right = b[i - rank + b.length] ?? 1;
    if (left === 1) return right;
    if (right === 1) return left;
    return left === UNKNOWN ? right : left;
  });
}

export function broadcastAll(shapes: readonly Shape[]): Shape {
  return shapes.reduce((a, b) => broadcast(a, b));
}

/** Sum of dimensions, unknown if one is. */
export function sumDims(dims: readonly number[]): number {
  return dims.includes(UNKNOWN) ? UNKNOWN : dims.reduce((a, b) => a + b, 0);
}

/** Product of dimensions, unknown if one is and none is zero. */
export function productDims(dims: readonly number[]): number {
  if (dims.includes(0)) return 0;
  return dims.includes(UNKNOWN) ? UNKNOWN : dims.reduce((a, b) => a * b, 1);
}

/** An axis counted from the front; undefined when it lies outside the rank. */
export function normalAxis(axis: number, rank: number): number | undefined {
  const normal = axis < 0 ? axis + rank : axis;
  return normal >= 0 && normal < rank ? normal : undefined;
}

/** A fully known value as numbers. */
export function knownValues(value: PartialValue | undefined): number[] | undefined {
  return value?.values.every((item) => item !== undefined) ? (value.values as number[]) : undefined;
}

/** True when the same is known of both; unknown dimensions count as the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a === b || (a?.length === b?.length && a !== undefined && a.every((dim, i) => dim === b![i]));
}

/** A known scalar (or one-element tensor). */
export function knownScalar(value: PartialValue | undefined): number | undefined {
  return value?.values.length === 1 ? value.values[0] : undefined;
}

/** A shape tensor's value as a shape: known elements are dimensions; a vector of unknown length means unknown rank. */
export function shapeFromValue(value: PartialValue | undefined, tensorShape: Shape): Shape {
  if (value && value.shape.length === 1)
    return value.values.map((dim) => (dim === undefined || dim < 0 ? UNKNOWN : dim));
  const length = tensorShape?.length === 1 ? tensorShape[0]! : UNKNOWN;
  return length === UNKNOWN ? undefined : unknowns(length);
}

/** Replaces one dimension. */
export function withDim(shape: readonly number[], axis: number, dim: number): number[] {
  return shape.map((old, i) => (i === axis ? dim : old));
}

/** Same as input i. */
export function same(i = 0): ShapeFunction {
  return (call) => [call.shape(i)];
}

/** A fixed shape for each output. */
export function fixed(...shapes: Shape[]): ShapeFunction {
  return () => shapes;
}

/** One shape function under several names. */
export function each(names: string, shape: ShapeFunction): Record<string, ShapeFunction> {
  return Object.fromEntries(
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, shape]),
  );
}
