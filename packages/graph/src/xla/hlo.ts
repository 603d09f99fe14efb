import {
  HloAttrs,
  type HloAttr,
  type HloOp,
  type HloRegion,
  type HloTensorType,
  type HloValue,
} from "@shardserve/savedmodel";
import { bytesOf, type DType, type NumericDType, type Tensor } from "@shardserve/tensor";
import type { DimensionNumbers } from "./dimension-numbers.js";

/** Values, attributes and ops of StableHLO, made of what TensorFlow's nodes say. */

function tensorType(dtype: DType, shape: readonly number[]): HloTensorType {
  return { kind: "tensor", shape, element: { kind: "element", name: dtype, dtype } };
}

export function value(dtype: DType, shape: readonly number[]): HloValue {
  return { type: tensorType(dtype, shape) };
}

/** An op that gives `results`. */
export function hloOp(
  name: string,
  operands: readonly HloValue[],
  attrs: Readonly<Record<string, HloAttr>>,
  results: readonly HloValue[],
  regions: readonly HloRegion[] = [],
): HloOp {
  return { name, operands, results, attrs: new HloAttrs(name, new Map(Object.entries(attrs))), regions };
}

export function int(number: number): HloAttr {
  return { kind: "integer", value: BigInt(number) };
}

export function ints(numbers: readonly number[]): HloAttr {
  return { kind: "array", items: numbers.map(int) };
}

export function dimensions({ numbers, lists }: DimensionNumbers): Record<string, HloAttr> {
  return Object.fromEntries([
    ...Object.entries(numbers).map(([name, number]) => [name, int(number)] as const),
    ...Object.entries(lists).map(([name, list]) => [name, ints(list)] as const),
  ]);
}

/** Directions of comparisons by VHLO's numbers. */
export const DIRECTIONS = { Equal: 0, NotEqual: 1, GreaterEqual: 2, Greater: 3, LessEqual: 4, Less: 5 } as const;

/** How floats are compared: as numbers, or in the order of all of them, NaN too. */
export const FLOAT = 1;
export const TOTAL_ORDER = 2;

export function enumeration(number: number): HloAttr {
  return { kind: "enum", value: number };
}

/** The op that gives a constant. */
export function constantOp(of: Tensor<NumericDType>, result: HloValue): HloOp {
  const attribute: HloAttr = { kind: "tensor", type: tensorType(of.dtype, of.shape), bytes: bytesOf(of.data) };
  return hloOp("constant", [], { value: attribute }, [result]);
}
