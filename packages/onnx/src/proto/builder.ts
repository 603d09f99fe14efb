import { invariant, type Pieces, runAtOnce } from "@shardserve/core";
import type { Shape } from "@shardserve/graph";
import { bytesOf, type DType, elementCount, isNumeric, type NumericData, type Tensor } from "@shardserve/tensor";
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
import { Unsupported } from "./unsupported.js";
import type { WeightSource, Weight, Value } from "./value.js";
import { liveNodes } from "./live-nodes.js";
import { numbers } from "./numbers.js";

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
    const nodes = runAtOnce(liveNodes(this.#nodes, outputs));
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

  /**
   * A weight with its elements under other lengths, in place where it was; undefined for values that only a run knows.
   *
   * @param shape  lengths, 0 = as it is
   */
  reshapedWeight({ name: from, dtype, weight }: Value, shape: readonly number[]): Value | undefined {
    if (!weight) return undefined;
    const lengths = shape.map((length, axis) => length || weight.shape[axis]!);
    if (elementCount(lengths) !== elementCount(weight.shape)) return undefined;
    const name = `${from}r${this.#count++}`;
    return { name, dtype, weight: { ...weight, name, shape: lengths } };
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
  *building(resolve: (weight: Weight) => Uint8Array | FileRange, isNamed = true): Pieces<Uint8Array> {
    const nodes = yield* liveNodes(this.#nodes, this.#outputs);
    const weights = this.weights.map((weight): OnnxInitializer => ({ ...weight, data: resolve(weight) }));
    const initializers = [...this.#initializers.values(), ...weights];
    yield;
    return yield* encodeModel({ nodes, inputs: this.#inputs, outputs: this.#outputs, initializers }, isNamed);
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
