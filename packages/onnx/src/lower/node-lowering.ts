import { Unsupported } from "../proto/unsupported.js";
import { ServingError } from "@shardserve/core";
import type { GraphNode, NodeContext } from "@shardserve/graph";
import { type DType, isNumeric, type Tensor, toNumbers } from "@shardserve/tensor";
import type { OnnxBuilder } from "../proto/builder.js";
import type { Value } from "../proto/value.js";

/** Lowers one TensorFlow node: adds ONNX nodes and returns the node's outputs, in order. @throws Unsupported */
export type Lower = (n: NodeLowering) => Value | readonly Value[];
export type LoweringTable = Readonly<Record<string, Lower>>;

/** Element types that ONNX Runtime's CPU kernels compute with. */
const DEVICE_DTYPES: ReadonlySet<DType> = new Set([
  "float32",
  "float64",
  "float16",
  "int8",
  "int16",
  "int32",
  "int64",
  "uint8",
  "uint16",
  "uint32",
  "uint64",
  "bool",
]);

/** Ops that move elements without looking at them, and casts; the engine has their kernels for every dtype. */
const TAKES_ALL: ReadonlySet<string> = new Set([
  "GatherRows",
  "Gather",
  "GatherV2",
  "Identity",
  "Reshape",
  "Loop",
  "Cast",
]);

/** What the engine has kernels for that take quantised integers, which are plain ones to it. */
const TAKES_QUANTIZED: ReadonlySet<string> = new Set(["QuantizedConv2D", "QuantizedMatMul"]);

function hasKernel(op: string, dtype: DType): boolean {
  if (DEVICE_DTYPES.has(dtype)) return true;
  return dtype === "bfloat16" ? TAKES_ALL.has(op) : TAKES_QUANTIZED.has(op) && dtype.startsWith("q");
}

/** A TensorFlow node on its way into an ONNX graph: what is known of it, and the builder to add to. */
export class NodeLowering {
  readonly node: GraphNode;
  readonly b: OnnxBuilder;
  readonly inputs: readonly Value[];
  readonly #context: NodeContext;
  readonly #isSoleUse: (input: number) => boolean;

  /**
   * @param inputs     one value per data input
   * @param isSoleUse  whether nothing but this node reads the value of an input
   */
  constructor(
    node: GraphNode,
    context: NodeContext,
    builder: OnnxBuilder,
    inputs: readonly Value[],
    isSoleUse: (input: number) => boolean,
  ) {
    this.node = node;
    this.b = builder;
    this.inputs = inputs;
    this.#context = context;
    this.#isSoleUse = isSoleUse;
    for (const info of [...context.inputs, ...context.outputs]) {
      if (!hasKernel(node.op, info.dtype)) this.fail(`no engine kernels for ${info.dtype}`);
    }
  }

  get attrs(): GraphNode["attrs"] {
    return this.node.attrs;
  }

  get outputCount(): number {
    return this.#context.outputs.length;
  }

  fail(why: string): never {
    throw new Unsupported(why);
  }

  x(index: number): Value {
    const value = this.inputs[index];
    if (!value)
      throw new ServingError("GRAPH_INVALID", `${this.node.op} node "${this.node.name}" has no input ${index}`);
    return value;
  }

  dtype(index: number): DType {
    return this.x(index).dtype;
  }

  outDtype(index = 0): DType {
    return this.#context.outputs[index]?.dtype ?? this.fail(`output ${index} has no dtype`);
  }

  /** Shape of an input, -1 = unknown dimension, undefined = unknown rank. */
  shape(index: number): readonly number[] | undefined {
    return this.#context.inputs[index]?.shape;
  }

  rank(index: number): number | undefined {
    return this.shape(index)?.length;
  }

  needRank(index: number): number {
    return this.rank(index) ?? this.fail(`the rank of input ${index} is unknown`);
  }

  /** Length of dimension `axis` (may be negative) of an input, undefined when unknown. */
  dim(index: number, axis: number): number | undefined {
    const length = this.shape(index)?.at(axis);
    return length === undefined || length < 0 ? undefined : length;
  }

  outShape(index = 0): readonly number[] | undefined {
    return this.#context.outputs[index]?.shape;
  }

  constant(index: number): Tensor | undefined {
    return this.#context.constant(index);
  }

  /** The numbers of a constant input, undefined when only a run knows them. */
  numbers(index: number): number[] | undefined {
    const value = this.constant(index);
    return value && isNumeric(value.dtype) ? toNumbers(value) : undefined;
  }

  needNumbers(index: number): number[] {
    return this.numbers(index) ?? this.fail(`input ${index} is not constant`);
  }

  needNumber(index: number): number {
    return this.needNumbers(index)[0] ?? this.fail(`input ${index} is empty`);
  }

  /** True when nothing but this node reads the value of the input. */
  isSoleUse(index: number): boolean {
    return this.#isSoleUse(index);
  }
}
