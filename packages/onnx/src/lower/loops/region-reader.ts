import type { GraphNode, Region, TensorRef } from "@shardserve/graph";
import { refKey } from "@shardserve/graph";
import { isNumeric, toNumbers } from "@shardserve/tensor";

/** The body or condition of a loop, read from its results towards its inputs. */
export class RegionReader {
  readonly region: Region;
  readonly #carried: number;

  constructor(region: Region, carried: number) {
    this.region = region;
    this.#carried = carried;
  }

  /** "counter < limit", with a limit that no turn changes. */
  lessThanFixed(): { readonly counter: number; readonly limit: TensorRef } | undefined {
    const [left, limit] = this.inputs(this.region.outputs[0]!, "Less") ?? [];
    const counter = left && this.variable(left);
    return counter !== undefined && limit && this.isFixed(limit) ? { counter, limit } : undefined;
  }

  /** True for a scalar that is one more after each turn. */
  isCounter(variable: number): boolean {
    const next = this.region.outputs[variable]!;
    const terms = this.terms(next);
    const info = this.region.infos?.get(refKey(next));
    if (!terms || info?.dtype !== "int32" || info.shape?.length !== 0) return false;
    return eitherWay(terms, (own, step) => this.variable(own) === variable && this.numbers(step)?.join() === "1");
  }

  /** The input of which `ref` is row number `counter`. */
  rowOf(ref: TensorRef, counter: number): number | undefined {
    const [rows, at, axis] = this.inputs(ref, "GatherV2") ?? [];
    if (!rows || !at || !axis || this.node(ref).attrs.int("batch_dims") !== 0) return undefined;
    const input = this.region.args.indexOf(rows.node);
    const length = this.region.infos?.get(refKey(rows))?.shape?.[0];
    const index = this.#unclamped(at, length);
    return input >= this.#carried && this.variable(index) === counter && this.numbers(axis)?.join() === "0"
      ? input
      : undefined;
  }

  /** What an index is before JAX moves it into [0, length): for one that is in there, that is no matter. */
  #unclamped(ref: TensorRef, length: number | undefined): TensorRef {
    for (const [op, bound] of [
      ["Maximum", 0],
      ["Minimum", (length ?? 0) - 1],
    ] as const) {
      const [a, b] = this.inputs(ref, op) ?? [];
      if (a && b && this.numbers(b)?.join() === String(bound)) return this.#unclamped(a, length);
      if (a && b && this.numbers(a)?.join() === String(bound)) return this.#unclamped(b, length);
    }
    return ref;
  }

  matMul(ref: TensorRef): readonly TensorRef[] | undefined {
    const inputs = this.inputs(ref, "MatMul");
    if (!inputs) return undefined;
    const { attrs } = this.node(ref);
    const isPlain = !attrs.bool("transpose_a") && !attrs.bool("transpose_b");
    return isPlain && this.region.infos?.get(refKey(ref))?.dtype === "float32" ? inputs : undefined;
  }

  sigmoid(ref: TensorRef): TensorRef | undefined {
    return this.inputs(ref, "Sigmoid")?.[0];
  }

  product(ref: TensorRef, accept: (a: TensorRef, b: TensorRef) => boolean): boolean {
    return eitherWay(this.inputs(ref, "Mul"), accept);
  }

  sum(ref: TensorRef, accept: (a: TensorRef, b: TensorRef) => boolean): boolean {
    return eitherWay(this.terms(ref), accept);
  }

  /** The two operands of a sum. */
  terms(ref: TensorRef): readonly TensorRef[] | undefined {
    return this.inputs(ref, "AddV2") ?? this.inputs(ref, "Add");
  }

  /** As far as it is known before a request; unknown dimensions are negative. */
  shape(ref: TensorRef): readonly number[] | undefined {
    return this.region.infos?.get(refKey(ref))?.shape;
  }

  node(ref: TensorRef): GraphNode {
    return this.region.graph.get(ref.node)!;
  }

  /** The inputs of the node that makes `ref`, where that is an `op`. */
  inputs(ref: TensorRef, op: string): readonly TensorRef[] | undefined {
    const node = this.node(ref);
    return node.op === op && node.controls.length === 0 ? node.inputs : undefined;
  }

  /** The carried variable that `ref` is. */
  variable(ref: TensorRef): number | undefined {
    const at = this.region.args.indexOf(ref.node);
    return at >= 0 && at < this.#carried ? at : undefined;
  }

  /** True for what is the same in every turn: an input of the loop, a constant or a variable of the model, or some of them joined. */
  isFixed(ref: TensorRef): boolean {
    return this.#isGiven(ref) || (this.inputs(ref, "ConcatV2")?.every((part) => this.#isGiven(part)) ?? false);
  }

  #isGiven(ref: TensorRef): boolean {
    return this.region.args.indexOf(ref.node) >= this.#carried || ["Const", "Variable"].includes(this.node(ref).op);
  }

  numbers(ref: TensorRef): number[] | undefined {
    const node = this.node(ref);
    const value = node.op === "Const" ? node.attrs.tensor("value") : undefined;
    return value && isNumeric(value.dtype) ? toNumbers(value) : undefined;
  }
}

/** Whether two operands fit in one order or the other. */
function eitherWay(
  operands: readonly TensorRef[] | undefined,
  accept: (a: TensorRef, b: TensorRef) => boolean,
): boolean {
  const [a, b] = operands ?? [];
  return a !== undefined && b !== undefined && (accept(a, b) || accept(b, a));
}
