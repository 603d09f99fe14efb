import { ServingError } from "@shardserve/core";
import type { HloAttr, HloModule, HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { type DType, isNumeric, type NumericDType, type Tensor, toNumbers } from "@shardserve/tensor";
import type { FunctionLibrary } from "../import/import.js";
import type { Inference } from "../infer/inference.js";
import { iotaAxis } from "../infer/iota.js";
import type { Shape } from "../ir/attrs.js";
import { constantOf, type GraphNode, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { regionOf } from "./computations.js";
import { constantOp, hloOp, int, value } from "./hlo.js";

/** A node as a module of StableHLO whose `main` is the ops that the node stands for. */
interface NodeModule {
  readonly module: HloModule;
  /** Those of the node's inputs that `main` takes. */
  readonly inputs: readonly TensorRef[];
  /** Ops that give what arguments of `main` are known to be. */
  readonly definitions: readonly HloOp[];
}

/** Operands that are looked into have no more elements than this. */
const CONSTANT_MAX = 4096;

/** What the description of a node may ask, and what it adds. */
export class NodeView {
  readonly node: GraphNode;
  readonly #program: Program;
  readonly #inference: Inference;
  readonly #library: FunctionLibrary;
  readonly #args = new Map<number, HloValue>();
  readonly #ops: HloOp[] = [];
  readonly #definitions: HloOp[] = [];

  constructor(node: GraphNode, program: Program, inference: Inference, library: FunctionLibrary) {
    this.node = node;
    this.#program = program;
    this.#inference = inference;
    this.#library = library;
  }

  get attrs() {
    return this.node.attrs;
  }

  /**
   * Input `i` as an operand.
   *
   * @param looked  what is looked for behind it: a constant, or numbers that count along an axis
   */
  in(i: number, looked: "constant" | "iota" = "constant"): HloValue {
    const known = this.#args.get(i);
    if (known) return known;
    const made = value(this.dtype(i), this.shape(i) ?? this.fail(`the rank of its input ${i} is not known`));
    this.#args.set(i, made);
    const definition = looked === "iota" ? this.#iotaOf(this.#ref(i), made) : this.#constantOf(this.#ref(i), made);
    if (definition) this.#definitions.push(definition);
    return made;
  }

  /** Inputs `from` to before `to`. */
  ins(from: number, to: number): HloValue[] {
    return Array.from({ length: to - from }, (_, i) => this.in(from + i));
  }

  dtype(i: number): DType {
    return this.#inference.info(this.#ref(i))?.dtype ?? this.fail(`nothing is known of its input ${i}`);
  }

  shape(i: number): Shape {
    return this.#inference.info(this.#ref(i))?.shape;
  }

  /** The numbers of an input that follows from constants and shapes; undefined for one that is computed. */
  known(i: number): number[] | undefined {
    const constant = constantOf(this.#program.graph.get(this.#ref(i).node));
    if (constant && isNumeric(constant.dtype) && constant.data.length <= CONSTANT_MAX) return toNumbers(constant);
    const values = this.#inference.value(this.#ref(i))?.values;
    return values?.includes(undefined) ? undefined : (values as number[] | undefined);
  }

  ints(i: number, what: string): number[] {
    return this.known(i) ?? this.fail(`its ${what} are not known before a request`);
  }

  /** A new value like output `i`. */
  out(i = 0): HloValue {
    const info = this.#inference.info({ node: this.node.name, index: i });
    if (!info) return this.fail("nothing is known of its outputs");
    return value(info.dtype, info.shape ?? this.fail("the rank of its output is not known"));
  }

  get outputs(): HloValue[] {
    return (this.#inference.nodes.get(this.node.name)?.infos ?? []).map((_, i) => this.out(i));
  }

  /** The function in an attribute, of scalars of these dtypes. */
  region(name: string, dtypes: readonly DType[]): HloRegion {
    return regionOf(this.attrs.func(name), dtypes, this.#library);
  }

  /** Adds an op; @returns its results */
  op(
    name: string,
    operands: readonly HloValue[],
    attrs: Readonly<Record<string, HloAttr>>,
    results: readonly HloValue[],
    regions: readonly HloRegion[] = [],
  ): readonly HloValue[] {
    this.#ops.push(hloOp(name, operands, attrs, results, regions));
    return results;
  }

  fail(why: string): never {
    throw new ServingError("UNIMPLEMENTED", why);
  }

  module(results: readonly HloValue[]): NodeModule {
    const args = [...this.#args];
    const body = { args: args.map(([, arg]) => arg), ops: [...this.#ops, hloOp("return", results, {}, [])] };
    return {
      module: { functions: new Map([["main", { name: "main", body }]]) },
      inputs: args.map(([i]) => this.#ref(i)),
      definitions: this.#definitions,
    };
  }

  #ref(i: number): TensorRef {
    return this.node.inputs[i] ?? this.fail(`it has no input ${i}`);
  }

  #constantOf(ref: TensorRef, made: HloValue): HloOp | undefined {
    const constant = constantOf(this.#program.graph.get(ref.node));
    const isKnown = constant && isNumeric(constant.dtype) && constant.data.length <= CONSTANT_MAX;
    return isKnown ? constantOp(constant as Tensor<NumericDType>, made) : undefined;
  }

  #iotaOf(ref: TensorRef, made: HloValue): HloOp | undefined {
    const axis = iotaAxis(ref, this.#program, this.#inference);
    return axis === undefined ? undefined : hloOp("iota", [], { iota_dimension: int(axis) }, [made]);
  }
}
