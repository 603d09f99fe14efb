import { toNumbers } from "@shardserve/tensor";
import { constantOf, type GraphNode, refKey, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { type Element, originOf } from "./element-origins.js";
import type { Inference } from "./inference.js";
import { UNKNOWN } from "./shapes.js";

/** Steps back through a graph from one value. */
const STEPS_MAX = 16;

/** An axis along which numbers count. */
interface Counted {
  readonly axis: number;
  /** What says how far, where that is not known. */
  readonly length?: Element;
}

/**
 * The axis along which an integer tensor counts 0, 1, 2, ...: a range that was given dimensions of one and spread over others.
 * Undefined for other values, and where it is not sure.
 */
export function iotaAxis(ref: TensorRef, program: Program, inference: Inference): number | undefined {
  return countedAxes(ref, program, inference, STEPS_MAX)[0]?.axis;
}

/** All such axes: along those of length one anything that holds zeros does. */
function countedAxes(ref: TensorRef, program: Program, inference: Inference, steps: number): readonly Counted[] {
  const node = program.graph.get(ref.node);
  const info = inference.info(ref);
  if (!node || !info?.shape || steps === 0) return [];
  const { shape, dtype } = info;
  if (node.op === "Const") return axesOfConstant(constantOf(node), shape);
  if (node.op === "Range")
    return shape.length === 1 && digitsOf(dtype) > 0 ? axesOfRange(node, program, inference) : [];
  const [input, target] = node.inputs;
  const source = input && inference.info(input);
  if (!source?.shape) return [];
  const axes = (): readonly Counted[] => countedAxes(input!, program, inference, steps - 1);
  const from = source.shape;
  if (node.op === "Cast") return digitsOf(dtype) >= digitsOf(source.dtype) ? axes() : [];
  if (node.op === "BroadcastTo" && from.length === shape.length) {
    const origin = (at: number): Element => originOf(program, inference, { ref: target!, at });
    // Numbers do not count along an axis over which they were spread.
    return axes().filter(({ axis, length }) => {
      if (shape[axis] !== UNKNOWN) return from[axis] === shape[axis];
      return length !== undefined && isSame(origin(axis), length);
    });
  }
  const long = shape.flatMap((size, i) => (size === 1 ? [] : [i]));
  if (node.op !== "Reshape" || from.length !== 1 || long.length !== 1) return [];
  return axes().map((counted) => ({ ...counted, axis: long[0]! }));
}

function isSame(a: Element, b: Element): boolean {
  return a.at === b.at && refKey(a.ref) === refKey(b.ref);
}

/** Binary digits of the largest whole number of a dtype of integers; 0 for others. */
function digitsOf(dtype: string): number {
  const [, sign, bits] = /^(u?)int(\d+)$/.exec(dtype) ?? [];
  return bits === undefined ? 0 : Number(bits) - (sign === "u" ? 0 : 1);
}

function axesOfRange({ inputs }: GraphNode, program: Program, inference: Inference): Counted[] {
  const [start, , step] = inputs.map((input) => {
    const value = constantOf(program.graph.get(input.node));
    return value?.data.length === 1 ? toNumbers(value)[0] : undefined;
  });
  if (start !== 0 || step !== 1) return [];
  return [{ axis: 0, length: originOf(program, inference, { ref: inputs[1]!, at: 0 }) }];
}

function axesOfConstant(value: ReturnType<typeof constantOf>, shape: readonly number[]): Counted[] {
  if (!value || digitsOf(value.dtype) === 0 || value.data.length === 0) return [];
  const numbers = toNumbers(value);
  const axes = shape.flatMap((length, axis) => {
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return numbers.every((number, i) => number === Math.floor(i / inner) % length) ? [axis] : [];
  });
  return axes.map((axis) => ({ axis }));
}
