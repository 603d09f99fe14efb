import { eachInPieces, type Pieces } from "@shardserve/core";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { type GraphNode, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";
import { magnifiedNodes } from "./magnified.js";
import { bare, numbersAt } from "../matching.js";

/**
 * What JAX writes as arithmetic becomes the op that TensorFlow has for it, which an engine runs as one: a logistic function of four
 * ops, a softmax of eight, and a bias that is reshaped to the rank of the product before it is added. In a loop each op is paid for in each turn.
 *
 * An engine's logistic function is 0 long before TensorFlow's: and 1 later: where a reader tells apart what is near to them the arithmetic stays, and a Sigmoid is
 * marked `exact`.
 */
export function* formLayerIdioms(program: Program, inference: Inference): Pieces<Program> {
  const idioms = new Idioms(program, inference, yield* magnifiedNodes(program));
  const replaced = new Map<string, GraphNode>();
  yield* eachInPieces(program.graph.values(), (node) => {
    const found = idioms.of(node);
    if (found) replaced.set(node.name, found);
  });
  return replaced.size === 0 ? program : yield* pruning(yield* rewriting(program, new Map(), replaced));
}

const FLOATS = new Set(["float32", "float64"]);

class Idioms {
  readonly #program: Program;
  readonly #inference: Inference;
  readonly #magnified: ReadonlySet<string>;

  constructor(program: Program, inference: Inference, magnified: ReadonlySet<string>) {
    this.#program = program;
    this.#inference = inference;
    this.#magnified = magnified;
  }

  /** The op in the place of a node. */
  of(node: GraphNode): GraphNode | undefined {
    if (node.op !== "RealDiv" && node.op !== "AddV2" && node.op !== "Sigmoid") return undefined;
    const dtype = this.#inference.first(node.name)?.dtype;
    if (dtype === undefined || !FLOATS.has(dtype)) return undefined;
    const become = (op: string, inputs: readonly TensorRef[], attrs = {}): GraphNode => {
      return { ...node, op, inputs, attrs: new Attrs(op, { T: dtype, ...attrs }) };
    };
    if (node.op === "AddV2") {
      const biased = this.#biased(node);
      return biased && become("BiasAdd", biased, { data_format: "NHWC" });
    }
    const isMagnified = this.#magnified.has(node.name);
    if (node.op === "Sigmoid") return isMagnified ? become("Sigmoid", node.inputs, { exact: true }) : undefined;
    const x = this.#logistic(node);
    if (x && isMagnified) return undefined;
    if (x) return become("Sigmoid", [x]);
    const logits = this.#softmax(node);
    return logits && become("Softmax", [logits]);
  }

  /** x, of 1 / (1 + exp(-x)). */
  #logistic({ inputs }: GraphNode): TensorRef | undefined {
    const sum = this.#isOne(inputs[0]!) ? bare(inputs[1]!, "AddV2", this.#program) : undefined;
    const exponential = sum && eitherOf(sum, (one) => this.#isOne(one));
    const power = exponential && bare(exponential, "Exp", this.#program);
    const negated = power && bare(power.inputs[0]!, "Neg", this.#program);
    return negated?.inputs[0];
  }

  #isOne(ref: TensorRef): boolean {
    const one = this.#program.graph.get(ref.node)!;
    return one.op === "Const" && this.#inference.info(ref)?.shape?.length === 0 && this.#numbers(one)?.join() === "1";
  }

  #numbers(node: GraphNode): number[] | undefined {
    return numbersAt({ ...node, inputs: [{ node: node.name, index: 0 }] }, 0, this.#program);
  }

  /** x, of exp(x - max(x)) / sum(exp(x - max(x))) along the last axis. */
  #softmax({ inputs: [exponential, total] }: GraphNode): TensorRef | undefined {
    const power = bare(exponential!, "Exp", this.#program);
    const difference = power && bare(power.inputs[0]!, "Sub", this.#program);
    const [x, most] = difference?.inputs ?? [];
    if (!x || !most) return undefined;
    const sums = this.#reduced(total!, "Sum");
    if (!sums || refKey(sums) !== refKey(exponential!)) return undefined;
    const greatest = this.#reduced(most, "Max");
    return greatest && refKey(greatest) === refKey(x) ? x : undefined;
  }

  /** The input of a reduction along its last axis, which the value keeps, or gets back, as one of length 1. */
  #reduced(ref: TensorRef, op: "Sum" | "Max"): TensorRef | undefined {
    const rank = this.#inference.info(ref)?.shape?.length;
    const expanded = bare(ref, "ExpandDims", this.#program);
    const isLast = (axes: number[] | undefined): boolean =>
      rank !== undefined && axes?.length === 1 && (axes[0] === rank - 1 || axes[0] === -1);
    if (expanded && !isLast(numbersAt(expanded, 1, this.#program))) return undefined;
    const inner = expanded?.inputs[0] ?? ref;
    // jax.nn.softmax takes the maximum with -inf.
    const bounded = op === "Max" ? bare(inner, "Maximum", this.#program) : undefined;
    const source = bounded ? eitherOf(bounded, (least) => this.#isLeast(least)) : inner;
    const reduction = source && bare(source, op, this.#program);
    if (!reduction || reduction.attrs.bool("keep_dims") !== !expanded) return undefined;
    return isLast(numbersAt(reduction, 1, this.#program)) ? reduction.inputs[0] : undefined;
  }

  #isLeast(ref: TensorRef): boolean {
    const node = this.#program.graph.get(ref.node)!;
    const isScalar = this.#inference.info(ref)?.shape?.length === 0; // others may add dimensions to what they are compared with
    return node.op === "Const" && isScalar && this.#numbers(node)?.join() === "-Infinity";
  }

  /** A product and the vector that is added to each of its rows. */
  #biased({ inputs }: GraphNode): readonly [TensorRef, TensorRef] | undefined {
    for (const [product, addend] of [inputs, inputs.toReversed()] as [TensorRef, TensorRef][]) {
      const width = bare(product, "MatMul", this.#program) && this.#inference.info(product)?.shape?.at(-1);
      const reshaped = bare(addend, "Reshape", this.#program);
      if (width === undefined || width < 1 || !reshaped) continue;
      const [bias, row] = [reshaped.inputs[0]!, this.#inference.info(addend)?.shape];
      const isVector = this.#inference.info(bias)?.shape?.join() === String(width);
      if (isVector && row?.join() === `1,${width}`) return [product, bias];
    }
    return undefined;
  }
}

/** The other operand, where one of both is accepted. */
function eitherOf({ inputs }: GraphNode, accept: (ref: TensorRef) => boolean): TensorRef | undefined {
  const [a, b] = inputs as [TensorRef, TensorRef];
  return accept(a) ? b : accept(b) ? a : undefined;
}
