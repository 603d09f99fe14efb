import { ServingError } from "@shardserve/core";
import {
  attr,
  type HloAttrs,
  type HloOp,
  type HloRegion,
  type HloTensorType,
  type HloValue,
} from "@shardserve/savedmodel";
import { dataFromBytes, type DType, type NumericDType, type Tensor, tensor } from "@shardserve/tensor";
import type { Attributes, FunctionBuilder, Ref } from "./function-builder.js";

/** A value of StableHLO in terms of TensorFlow's. */
export interface Translated {
  /** The value; made when it is first asked for. */
  readonly full: () => Ref;
  /** What NumPy's broadcasting makes the value of, where that is smaller: of the same rank, or a scalar. */
  readonly narrow?: Ref;
  /** `narrow` is a scalar. */
  readonly isScalar?: boolean;
}

/** Turns an op into nodes; @returns one value for each of its results */
export type Translate = (t: OpTranslation) => readonly (Ref | Translated)[];

/** What the translation of a region asks of the function around it. */
export interface Surroundings {
  readonly b: FunctionBuilder;
  translated(value: HloValue): Translated;
  /** What a value is here, if it is made or given here. */
  known(value: HloValue): Translated | undefined;
  definition(value: HloValue): HloOp | undefined;
  /**
   * The name of the function that a region becomes. It takes what the region takes and then `captures`, and returns what the
   * region returns and, if they are handed on, `captures`.
   */
  regionFunction(region: HloRegion, captures: readonly HloValue[], extra: "hand on" | "drop"): string;
  /** What a small function returns, as nodes of this one; undefined where it is called as a function. */
  inlinedCall(name: string, operands: readonly HloValue[]): readonly Translated[] | undefined;
  /** True of functions whose calls are never calls. */
  isInlined(body: HloRegion): boolean;
  /** The value that an argument of a function stands for, where that function's nodes are put into this one. */
  behindCalls(value: HloValue): HloValue;
  /** Says of an argument of a region that it is an integer from 0 on, and below `limit`. */
  setRange(value: HloValue, limit: number): void;
  /** The limit of a value that is such an argument. */
  limitOf(value: HloValue): number | undefined;
  /** Says of an argument of a region that it is a TensorList whose elements are the value's rows. */
  setList(value: HloValue): void;
  calledFunction(
    name: string,
    operands: readonly HloValue[],
  ): { readonly function: string; readonly results: readonly DType[] };
  /** This machine's number among the platforms of the module, where a value is that. */
  platformOf(value: HloValue): number | undefined;
  /** The body of a function of the module. */
  calledBody(name: string): HloRegion;
  /** What a region returns for `args`, as nodes of this function; may be asked for again and again. */
  inlined(region: HloRegion, args: readonly (Ref | Translated)[]): Translated[];
  /** The name of a function that is written by hand: `make` gets its arguments, and finds `captures` behind them. */
  writtenFunction(
    args: readonly DType[],
    captures: readonly HloValue[],
    make: (around: Surroundings, args: readonly Ref[]) => readonly Ref[],
  ): string;
  /** The TensorFlow function that a module calls by number. */
  hostFunction(index: number): string;
}

/** One op with what its translation needs. */
export class OpTranslation {
  readonly op: HloOp;
  readonly around: Surroundings;
  readonly b: FunctionBuilder;

  constructor(op: HloOp, around: Surroundings) {
    this.op = op;
    this.around = around;
    this.b = around.b;
  }

  get attrs(): HloAttrs {
    return this.op.attrs;
  }

  emit(op: string, inputs: readonly Ref[], attrs: Attributes = {}): Ref {
    return this.b.emit(op, inputs, attrs);
  }

  /** The value of operand `i`. */
  in(i: number): Ref {
    return this.around.translated(this.operand(i)).full();
  }

  ins(from = 0, to = this.op.operands.length): Ref[] {
    return Array.from({ length: to - from }, (_, i) => this.in(from + i));
  }

  operand(i: number): HloValue {
    return this.op.operands[i] ?? this.fail(`it has no operand ${i}`);
  }

  type(i: number): HloTensorType {
    return this.tensorType(this.operand(i));
  }

  resultType(i = 0): HloTensorType {
    return this.tensorType(this.op.results[i] ?? this.fail(`it has no result ${i}`));
  }

  rank(i: number): number {
    return this.type(i).shape.length;
  }

  dtype(i: number): DType {
    return this.dtypeOf(this.type(i));
  }

  resultDType(i = 0): DType {
    return this.dtypeOf(this.resultType(i));
  }

  region(i: number): HloRegion {
    return this.op.regions[i] ?? this.fail(`it has no region ${i}`);
  }

  tensorType(value: HloValue): HloTensorType {
    const { type } = value;
    if (type.kind === "tensor") return type;
    return this.fail(type.kind === "other" ? `it works on ${type.name}` : `it works on a ${type.kind}`);
  }

  dtypeOf(type: HloTensorType): DType {
    return type.element.dtype ?? this.fail(`it works on elements of type ${type.element.name}`);
  }

  /** Numbers of a constant operand; undefined where it is none, or large. */
  constantInts(i: number): number[] | undefined {
    return constantInts(this.operand(i), this.around);
  }

  /** One dimension of operand `i`, an int32 scalar: a constant where the type says it. */
  dim(i: number, axis: number): Ref {
    return this.dimOf(this.in(i), this.type(i), axis);
  }

  dimOf(value: Ref, type: HloTensorType, axis: number): Ref {
    const known = type.shape[axis] ?? this.fail(`there is no dimension ${axis}`);
    if (known >= 0) return this.b.scalar("int32", known);
    return this.at(this.emit("Shape", [value]), axis);
  }

  /** Element `index` of a vector, a scalar. */
  at(vector: Ref, index: number): Ref {
    const [begin, end] = [this.b.ints([index]), this.b.ints([index + 1])];
    return this.emit("StridedSlice", [vector, begin, end, this.b.ints([1])], { shrink_axis_mask: attr.int(1) });
  }

  /** The shape of operand `i`, an int32 vector. */
  shape(i: number): Ref {
    return this.shapeOf(this.in(i), this.type(i));
  }

  shapeOf(value: Ref, type: HloTensorType): Ref {
    return type.shape.includes(-1) ? this.emit("Shape", [value]) : this.b.ints(type.shape);
  }

  /** The scalars of dimensions as one vector. */
  stack(dims: readonly Ref[]): Ref {
    return dims.length === 0 ? this.b.ints([]) : this.emit("Pack", dims);
  }

  reshape(value: Ref, shape: readonly number[]): Ref {
    return this.emit("Reshape", [value, this.b.ints(shape)]);
  }

  transpose(value: Ref, permutation: readonly number[]): Ref {
    if (permutation.every((axis, i) => axis === i)) return value;
    return this.emit("Transpose", [value, this.b.ints(permutation)]);
  }

  expand(value: Ref, axis: number): Ref {
    return this.emit("ExpandDims", [value, this.b.scalar("int32", axis)]);
  }

  /** The scalar, spread over a shape (an int32 or int64 vector). */
  filled(value: Ref, shape: Ref): Ref {
    return this.emit("Fill", [shape, value]);
  }

  select(condition: Ref, yes: Ref, no: Ref): Ref {
    return this.emit("SelectV2", [condition, yes, no]);
  }

  clampToRange(value: Ref, low: Ref, high: Ref): Ref {
    return this.emit("Maximum", [this.emit("Minimum", [value, high]), low]);
  }

  fail(why: string): never {
    throw new ServingError("UNIMPLEMENTED", `stablehlo.${this.op.name}: ${why}`);
  }
}

/** Axes as a checked permutation or subset: distinct and below `rank`. */
export function checkedAxes(t: OpTranslation, axes: readonly number[], rank: number, what: string): readonly number[] {
  if (new Set(axes).size !== axes.length || axes.some((axis) => !(axis >= 0 && axis < rank))) {
    t.fail(`${what} [${axes.join(", ")}] do not fit rank ${rank}`);
  }
  return axes;
}

/** Counting from zero: the axes of a rank. */
export function axesOf(rank: number): number[] {
  return Array.from({ length: rank }, (_, i) => i);
}

/** The tensor of a constant op; a single element stays one where it stands for all. */
export function constantTensor(op: HloOp): { readonly value: Tensor; readonly isSplat: boolean } | undefined {
  const { type, bytes } = op.attrs.tensor("value");
  const dtype = type.element.dtype as NumericDType | undefined;
  if (dtype === undefined) return undefined;
  const data = dataFromBytes(dtype, bytes);
  const count = type.shape.reduce((a, b) => a * b, 1);
  const lanes = dtype === "complex64" || dtype === "complex128" ? 2 : 1;
  if (data.length === lanes && count !== 1) return { value: tensor(dtype, [], data as never), isSplat: true };
  if (data.length !== count * lanes) {
    throw new ServingError("GRAPH_INVALID", `a constant of shape [${type.shape.join(",")}] has ${bytes.length} bytes`);
  }
  return { value: tensor(dtype, type.shape, data as never), isSplat: false };
}

/** Constants that are looked into have no more elements than this. */
const CONSTANT_MAX = 4096;

/** The numbers of a value that is a constant behind reshapes and broadcasts of one element. */
export function constantInts(value: HloValue, around: Pick<Surroundings, "definition">): number[] | undefined {
  let op = around.definition(value);
  for (let steps = 0; op && steps < 16; steps++) {
    if (op.name === "constant") {
      if (op.attrs.tensor("value").bytes.length > CONSTANT_MAX * 8) return undefined;
      const constant = constantTensor(op);
      if (!constant || /float16|complex/.test(constant.value.dtype)) return undefined;
      const numbers = Array.from(constant.value.data as ArrayLike<number | bigint>, Number);
      const count = value.type.kind === "tensor" ? value.type.shape.reduce((a, b) => a * b, 1) : 1;
      return numbers.length === 1 && count > 1 && count <= CONSTANT_MAX
        ? Array.from({ length: count }, () => numbers[0]!)
        : numbers;
    }
    const source = op.operands[0];
    const isSame = /^(reshape|broadcast_in_dim|dynamic_broadcast_in_dim|optimization_barrier)$/.test(op.name);
    if (!isSame || !source || (op.name !== "reshape" && !isSingle(source))) return undefined;
    op = around.definition(source);
  }
  return undefined;
}

/** The numbers of an integer tensor that is put together of others, in row-major order; undefined for those that are computed. */
export function constantElements(t: OpTranslation, i: number): (number | undefined)[] {
  return elementsOf(t, t.operand(i), 0);
}

function elementsOf(t: OpTranslation, value: HloValue, depth: number): (number | undefined)[] {
  const count = t.tensorType(value).shape.reduce((a, b) => a * b, 1);
  const known = constantInts(value, t.around);
  if (known) return known;
  const op = t.around.definition(value);
  const isOuter = op?.name === "concatenate" && op.attrs.int("dimension") === 0;
  if (op?.name === "reshape" || isOuter) {
    if (depth < 16) return op!.operands.flatMap((part) => elementsOf(t, part, depth + 1));
  }
  return Array.from({ length: Math.min(count, CONSTANT_MAX) }, () => undefined);
}

/** The constant of one element that a value is, maybe behind reshapes and broadcasts to as few. */
export function constantItem(value: HloValue, around: Pick<Surroundings, "definition">): Tensor | undefined {
  let [current, op] = [value, around.definition(value)];
  for (let steps = 0; op && isSingle(current) && steps < 16; steps++) {
    if (op.name === "constant") return constantTensor(op)?.value;
    if (!/^(reshape|broadcast_in_dim|optimization_barrier)$/.test(op.name) || !op.operands[0]) return undefined;
    current = op.operands[0];
    op = around.definition(current);
  }
  return undefined;
}

function isSingle({ type }: HloValue): boolean {
  return type.kind === "tensor" && type.shape.every((dim) => dim === 1);
}
