import { invariant } from "@shardserve/core";
import type { Shape } from "@shardserve/graph";
import {
  bytesOf,
  type DType,
  elementCount,
  isNumeric,
  newData,
  type NumericData,
  type NumericDType,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import {
  encodeModel,
  type FileRange,
  type OnnxAttr,
  type OnnxGraph,
  type OnnxInitializer,
  type OnnxNode,
  type OnnxValue,
} from "./model-proto.js";
import { type Kernels, KERNELS } from "./kernels.js";
import { Unsupported } from "../lower/node-lowering.js";

/** Where the session gets an initializer's bytes from. */
export type WeightSource =
  | {
      readonly kind: "variable";
      readonly checkpointKey: string;
      /** One part of a partitioned variable. */
      readonly slice?: { readonly start: readonly number[]; readonly length: readonly number[] };
    }
  | { readonly kind: "tensor"; readonly tensor: Tensor };

/** A constant too large to stand in the model as it is; see {@link OnnxBuilder.build}. */
export interface Weight {
  readonly name: string;
  readonly dtype: DType;
  /** After the permutation, with the shape that the graph sees. */
  readonly shape: readonly number[];
  readonly source: WeightSource;
  /** Shape of the source before the permutation. */
  readonly sourceShape: readonly number[];
  /** Dimension i of the permuted weight is dimension `permutation[i]` of the source; absent = as stored. */
  readonly permutation?: readonly number[];
}

/** A value inside the model under construction: the result of a node, an input, a constant or a weight. */
export interface Value {
  readonly name: string;
  readonly dtype: DType;
  /** Set when the value is a constant whose content is known here. */
  readonly tensor?: Tensor;
  /** Set when the value is a weight. */
  readonly weight?: Weight;
  /** The same with dimension -1 moved to 1, where it exists already; see channels.ts. */
  readonly channelsFirst?: { readonly value: Value; readonly rank: number };
  /** Of a line [n, l, c], or one with an axis of length 1 behind l: the same as images of one row, [n, c, 1, l], where it exists already. */
  readonly row?: Value;
  /** Of volumes [n, d, h, w, c]: their planes as images, where they exist already; see planes.ts. */
  readonly planes?: { readonly value: Value; readonly shape: readonly [number, number, number, number] };
}

/** A place in a graph under construction. */
export interface BuilderMark {
  readonly nodes: OnnxNode[];
  readonly length: number;
}

/** Larger constants are treated like weights. */
const EMBEDDED_BYTES_MAX = 4096;

/**
 * Ops whose kernels on the CPU take 16-bit floats: those that move elements without looking at them. Around a node without a kernel for
 * float16 ONNX Runtime puts casts of its own, and takes out every pair that meets between two nodes, and with it the rounding.
 */
const MOVES_HALVES = new Set(
  (
    "Cast Concat Expand Gather GatherND Identity If Loop Reshape ReverseSequence ScatterND Shape Slice Split Squeeze " +
    "Transpose Unsqueeze"
  ).split(" "),
);

/** ONNX spells a missing optional input as an empty name. */
const ABSENT: Value = { name: "", dtype: "float32" };

/**
 * Builds one ONNX graph. Constants and weights enter the model only when a node uses them; equal small constants are
 * stored once. Values are made by this builder and valid only in it.
 */
export class OnnxBuilder {
  /** Of the branch that is being built, else of the graph. */
  #nodes: OnnxNode[] = [];
  readonly #inputs: OnnxValue[] = [];
  readonly #outputs: OnnxValue[] = [];
  readonly #initializers = new Map<string, OnnxInitializer>();
  readonly #weights = new Map<string, Weight>();
  readonly #constants = new Map<string, Value>();
  #count = 0;
  readonly kernels: Kernels;
  /** Name of the TensorFlow node that is being lowered; ORT's error texts show it. */
  scope = "";

  constructor(kernels: Kernels = KERNELS.cpu) {
    this.kernels = kernels;
  }

  /** Declares the next graph input. */
  input(dtype: DType, shape: readonly number[] | undefined): Value {
    const value = { name: `in${this.#inputs.length}`, dtype };
    this.#inputs.push({ ...value, shape });
    return value;
  }

  /** Declares the next graph output; a value that is no node's own result gets an Identity. */
  output(value: Value): void {
    const isNodeResult = value.name.startsWith("v") && !this.#outputs.some((output) => output.name === value.name);
    const result = isNodeResult ? value : this.op("Identity", [value]);
    this.#outputs.push({ name: result.name, dtype: result.dtype, shape: undefined });
  }

  /** Adds a node with one output of dtype `dtype`, by default the first input's. @throws Unsupported as {@link ops} */
  op(
    op: string,
    inputs: readonly (Value | undefined)[],
    attrs: Readonly<Record<string, OnnxAttr>> = {},
    dtype: DType = inputs[0]!.dtype,
  ): Value {
    return this.ops(op, inputs, [dtype], attrs)[0]!;
  }

  /**
   * Adds a node with several outputs.
   *
   * @param label  what error texts call it, by default the op
   * @throws Unsupported when it would compute with float16 and the engine has no kernel for that
   */
  ops(
    op: string,
    inputs: readonly (Value | undefined)[],
    dtypes: readonly DType[],
    attrs: Readonly<Record<string, OnnxAttr>> = {},
    label = op.replace("com.microsoft:", ""),
  ): Value[] {
    if (!this.kernels.computesHalves && inputs.some((input) => input?.dtype === "float16") && !movesOnly(op, attrs)) {
      throw new Unsupported(`no engine kernel of ${op} for float16`);
    }
    const outputs = dtypes.map((dtype) => this.#value(dtype));
    const [domain, type] = op.startsWith("com.microsoft:") ? ["com.microsoft", op.slice(14)] : ["", op];
    this.#nodes.push({
      name: `${this.scope}/${label}_${this.#count++}`,
      op: type,
      domain,
      inputs: inputs.map((input) => this.#use(input ?? ABSENT)),
      outputs: outputs.map((output) => output.name),
      attrs,
    });
    return outputs;
  }

  /**
   * Runs one of two branches; both make values of the same dtypes and may use every value made before.
   *
   * @param condition  bool, one element
   */
  choose(condition: Value, dtypes: readonly DType[], yes: () => readonly Value[], no: () => readonly Value[]): Value[] {
    const branch = (make: () => readonly Value[]) => this.#branch([], make, undefined);
    return this.ops("If", [condition], dtypes, { then_branch: branch(yes), else_branch: branch(no) });
  }

  /**
   * Runs `turn` as long as its condition holds; it may use every value made before.
   *
   * @param limit      int64, one element: the most turns; undefined = no limit
   * @param condition  bool, one element: whether to take a first turn
   * @param first      the variables before the first turn, with what is known of their shapes in all turns
   * @param turn       from variables to the condition of another turn, the variables after, and what is stacked
   * @param stacked    what is known of the values that one turn adds to the stacks
   * @returns the variables after the last turn, then the stacks [turns, ...]
   */
  loop(
    limit: Value | undefined,
    condition: Value,
    first: readonly { readonly value: Value; readonly shape: Shape }[],
    turn: (variables: readonly Value[]) => readonly [condition: Value, ...results: Value[]],
    stacked: readonly { readonly dtype: DType; readonly shape: Shape }[],
  ): Value[] {
    const variables = first.map(({ value }) => this.#value(value.dtype));
    const shapes = [...first.map(({ shape }) => shape), ...stacked.map(({ shape }) => shape)];
    const inputs: OnnxValue[] = [
      { ...this.#value("int64"), shape: [] },
      { ...this.#value("bool"), shape: [] },
      ...variables.map((value, i) => ({ ...value, shape: shapes[i] })),
    ];
    const body = this.#branch(inputs, () => turn(variables), [[], ...shapes]);
    const dtypes = [...first.map(({ value }) => value.dtype), ...stacked.map(({ dtype }) => dtype)];
    return this.ops("Loop", [limit, condition, ...first.map(({ value }) => value)], dtypes, { body });
  }

  /**
   * Runs `each` on one row of `value` after another: what lies between its steps stays in the cache. It may use every value made before.
   *
   * @param shape   of a row, all known
   * @param result  shape of what `each` makes of one
   * @returns the results, [rows, ...]
   */
  perRow(value: Value, shape: readonly number[], result: readonly number[], each: (row: Value) => Value): Value {
    const row = this.#value(value.dtype);
    let dtype = value.dtype;
    const made = (): Value[] => {
      const output = each(row);
      dtype = output.dtype;
      return [output];
    };
    const body = this.#branch([{ ...row, shape }], made, [result]);
    return this.op("Scan", [value], { body, num_scan_inputs: 1 }, dtype);
  }

  /** A graph inside a node. Its outputs must be results of its own nodes, each only once. */
  #branch(
    inputs: readonly OnnxValue[],
    make: () => readonly Value[],
    shapes: readonly Shape[] | undefined,
  ): { readonly branch: OnnxGraph } {
    const outer = this.#nodes;
    this.#nodes = [];
    const seen = new Set<string>();
    const outputs = make().map((value, i): OnnxValue => {
      const isOwn = this.#nodes.some((node) => node.outputs.includes(value.name)) && !seen.has(value.name);
      const { name, dtype } = isOwn ? value : this.op("Identity", [value]);
      seen.add(name);
      return { name, dtype, shape: shapes?.[i] };
    });
    const nodes = liveNodes(this.#nodes, outputs);
    this.#nodes = outer;
    return { branch: { nodes, initializers: [], inputs, outputs } };
  }

  /**
   * Makes `bias` the third operand of the Gemm whose result `value` is; undefined when it is no Gemm's or has a bias.
   * Only for values that nothing else uses.
   */
  addGemmBias(value: Value, bias: Value): Value | undefined {
    const index = this.#nodes.findLastIndex((node) => node.outputs[0] === value.name);
    const node = this.#nodes[index];
    if (node?.op !== "Gemm" || node.inputs.length !== 2 || index !== this.#nodes.length - 1) return undefined;
    this.#nodes[index] = { ...node, inputs: [...node.inputs, this.#use(bias)] };
    return value;
  }

  /** The node of this graph, or of the branch that is being built, that makes a value; undefined for what comes from outside. */
  maker(name: string): OnnxNode | undefined {
    return this.#nodes.findLast((node) => node.outputs.includes(name));
  }

  /** Where the graph stands, for {@link forget}. */
  mark(): BuilderMark {
    return { nodes: this.#nodes, length: this.#nodes.length };
  }

  /** Takes back the nodes added since a mark; what only they used goes unused. */
  forget({ nodes, length }: BuilderMark): void {
    this.#nodes = nodes;
    this.#nodes.length = length;
  }

  /** A constant; it enters the model when used. */
  constant(value: Tensor): Value {
    invariant(isNumeric(value.dtype), `a ${value.dtype} constant cannot stand in an ONNX model`);
    const data = value.data as NumericData;
    if (data.byteLength > EMBEDDED_BYTES_MAX) {
      const name = `c${this.#count++}`;
      const { dtype, shape } = value;
      const weight: Weight = { name, dtype, shape, source: { kind: "tensor", tensor: value }, sourceShape: shape };
      return { name, dtype, tensor: value, weight };
    }
    const key = `${value.dtype}[${value.shape.join(",")}]${Buffer.from(bytesOf(data)).toString("latin1")}`;
    let known = this.#constants.get(key);
    if (!known) {
      known = { name: `c${this.#count++}`, dtype: value.dtype, tensor: value };
      this.#constants.set(key, known);
    }
    return known;
  }

  /** A scalar constant. */
  scalar(dtype: DType, value: number | bigint): Value {
    return this.constant(numbers(dtype, [], [value]));
  }

  /** A rank-1 int64 constant: shapes, axes, starts. */
  ints(values: readonly (number | bigint)[]): Value {
    return this.constant(numbers("int64", [values.length], values));
  }

  /** A frozen variable. */
  variable(dtype: DType, shape: readonly number[], source: WeightSource): Value {
    const name = `w${this.#count++}`;
    return { name, dtype, weight: { name, dtype, shape, source, sourceShape: shape } };
  }

  /** A weight or large constant, permuted and reshaped once at load time; undefined for values that only a run knows. */
  permuted(value: Value, permutation: readonly number[], shape: readonly number[]): Value | undefined {
    const weight =
      value.weight ??
      (value.tensor && {
        name: value.name,
        dtype: value.dtype,
        shape: value.tensor.shape,
        source: { kind: "tensor" as const, tensor: value.tensor },
        sourceShape: value.tensor.shape,
      });
    if (!weight || weight.permutation) return undefined;
    const name = `${weight.name}p${this.#count++}`;
    return { name, dtype: value.dtype, weight: { ...weight, name, shape, permutation } };
  }

  /** Weights that nodes use, in order of first use. */
  get weights(): readonly Weight[] {
    return [...this.#weights.values()];
  }

  get outputCount(): number {
    return this.#outputs.length;
  }

  get nodes(): readonly OnnxNode[] {
    return this.#nodes;
  }

  /**
   * The serialised ModelProto.
   *
   * @param resolve  where a weight's bytes are: a range of a file that ORT maps, or the bytes themselves
   * @param isNamed  false leaves the names of nodes out: models that compute the same have the same bytes then
   */
  build(resolve: (weight: Weight) => Uint8Array | FileRange, isNamed = true): Uint8Array {
    const live = liveNodes(this.#nodes, this.#outputs);
    const nodes = isNamed ? live : live.map((node) => ({ ...node, name: "" }));
    const weights = this.weights.map((weight): OnnxInitializer => ({ ...weight, data: resolve(weight) }));
    return encodeModel({
      nodes,
      inputs: this.#inputs,
      outputs: this.#outputs,
      initializers: [...this.#initializers.values(), ...weights],
    });
  }

  #value(dtype: DType): Value {
    return { name: `v${this.#count++}`, dtype };
  }

  #use(value: Value): string {
    const { name, dtype, weight } = value;
    if (weight) {
      this.#weights.set(name, weight);
    } else if (value.tensor && !this.#initializers.has(name)) {
      this.#initializers.set(name, {
        name,
        dtype,
        shape: value.tensor.shape,
        data: bytesOf(value.tensor.data as NumericData),
      });
    }
    return name;
  }
}

function movesOnly(op: string, attrs: Readonly<Record<string, OnnxAttr>>): boolean {
  return MOVES_HALVES.has(op) && (attrs.reduction ?? "none") === "none";
}

/** Nodes that an output depends on: a form of a value that nobody reads in the end is not computed. */
function liveNodes(nodes: readonly OnnxNode[], outputs: readonly OnnxValue[]): OnnxNode[] {
  const read = new Set(outputs.map(({ name }) => name));
  const live: OnnxNode[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((name) => read.has(name))) continue;
    live.push(node);
    readBy(node, read);
  }
  return live.reverse();
}

/** Adds what a node reads, and the nodes of the graphs inside it, which see outer values. */
function readBy(node: OnnxNode, read: Set<string>): void {
  for (const name of node.inputs) read.add(name);
  for (const attr of Object.values(node.attrs)) {
    if (typeof attr !== "object" || !("branch" in attr)) continue;
    for (const inner of attr.branch.nodes) readBy(inner, read);
    for (const { name } of attr.branch.outputs) read.add(name);
  }
}

/** A small tensor from JavaScript numbers; int64 data is exact up to 2^53 or given as bigint. */
export function numbers(dtype: DType, shape: readonly number[], values: readonly (number | bigint)[]): Tensor {
  invariant(isNumeric(dtype), `${dtype} has no numbers`);
  invariant(values.length === elementCount(shape), "as many values as elements");
  const data = newData(dtype as NumericDType, values.length);
  const isBig = dtype === "int64" || dtype === "uint64";
  for (let i = 0; i < values.length; i++) {
    (data as unknown as (number | bigint)[])[i] = isBig ? BigInt(values[i]!) : convert(dtype, Number(values[i]!));
  }
  return tensor(dtype, shape, data as never);
}

/** float16 is stored as its bit pattern. */
function convert(dtype: DType, value: number): number {
  return dtype === "float16" ? toHalfBits(value) : value;
}

const cell = new Float32Array(1);
const bits = new Uint32Array(cell.buffer);

/** IEEE 754 binary16 bits of a number, rounded to nearest even. */
function toHalfBits(value: number): number {
  cell[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const mantissa = word & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa ? 0x200 : 0);
  const unbiased = exponent - 127 + 15;
  if (unbiased >= 31) return sign | 0x7c00;
  if (unbiased <= 0) {
    if (unbiased < -10) return sign;
    const full = mantissa | 0x800000;
    return sign + roundShift(full, 14 - unbiased);
  }
  return sign + roundShift((unbiased << 23) | mantissa, 13);
}

function roundShift(value: number, shift: number): number {
  const half = 2 ** (shift - 1);
  const low = value & (2 ** shift - 1);
  const high = value >>> shift;
  return low > half || (low === half && (high & 1) === 1) ? high + 1 : high;
}
