import { type GraphNode, refKey, type Region, type TensorRef } from "@shardserve/graph";
import { isNumeric, toNumbers } from "@shardserve/tensor";
import type { NodeLowering } from "./node-lowering.js";

/** A loop that is an LSTM: turn t reads row t of `rows` and makes the next hidden and cell state of the last ones. */
export interface LstmLoop {
  /** Positions among the carried variables. */
  readonly hidden: number;
  readonly cell: number;
  /** Position among the loop's inputs of the rows, [turns, batch, features]. */
  readonly rows: number;
  /** A value of the condition: how many turns there are. */
  readonly turns: TensorRef;
  /** Values of the body that no turn changes: [features, 4 units], [units, 4 units], [4 units]. */
  readonly kernel: TensorRef;
  readonly recurrent: TensorRef;
  readonly bias: TensorRef | undefined;
  readonly units: number;
  /** Which quarter of the kernels is the input gate's, the output gate's, the forget gate's and the candidate's: ONNX's order. */
  readonly quarters: readonly number[];
}

/**
 * Recognises an LSTM with sigmoid gates and tanh, in float32: what Keras writes, whatever the order of its operands and gates.
 * Every output must be accounted for: counters that add one each turn, the two states, and stacks of the hidden state.
 */
export function lstmLoopOf(n: NodeLowering): LstmLoop | undefined {
  const [condition, body] = n.node.regions as readonly [Region, Region];
  const carried = n.attrs.int("carried");
  const time = new RegionReader(condition, carried).lessThanFixed();
  if (!time || n.numbers(time.counter)?.[0] !== 0) return undefined;
  const reader = new RegionReader(body, carried);
  const states = Array.from({ length: carried }, (_, i) => i).filter((i) => !reader.isCounter(i));
  if (states.length !== 2 || !reader.isCounter(time.counter)) return undefined;
  for (const [hidden, cell] of [states, states.toReversed()] as [number, number][]) {
    const found = reader.lstm(time.counter, hidden, cell);
    const isStackOfHidden = (ref: TensorRef): boolean => refKey(ref) === refKey(body.outputs[hidden]!);
    if (found && body.outputs.slice(carried).every(isStackOfHidden)) return { ...found, turns: time.limit };
  }
  return undefined;
}

/** The body or condition of a loop, read from its results towards its inputs. */
class RegionReader {
  readonly #region: Region;
  readonly #carried: number;

  constructor(region: Region, carried: number) {
    this.#region = region;
    this.#carried = carried;
  }

  /** "counter < limit", with a limit that no turn changes. */
  lessThanFixed(): { readonly counter: number; readonly limit: TensorRef } | undefined {
    const [left, limit] = this.#inputs(this.#region.outputs[0]!, "Less") ?? [];
    const counter = left && this.#variable(left);
    return counter !== undefined && limit && this.#isFixed(limit) ? { counter, limit } : undefined;
  }

  /** True for a scalar that is one more after each turn. */
  isCounter(variable: number): boolean {
    const next = this.#region.outputs[variable]!;
    const terms = this.#inputs(next, "AddV2") ?? this.#inputs(next, "Add");
    const info = this.#region.infos?.get(refKey(next));
    if (!terms || info?.dtype !== "int32" || info.shape?.length !== 0) return false;
    return eitherWay(terms, (own, step) => this.#variable(own) === variable && this.#numbers(step)?.join() === "1");
  }

  /** A turn of an LSTM. */
  lstm(counter: number, hidden: number, cell: number): Omit<LstmLoop, "turns"> | undefined {
    const { outputs } = this.#region;
    const nextCell = outputs[cell]!;
    const parts = new Map<string, TensorRef>();
    const take = (name: string, ref: TensorRef | undefined): boolean =>
      ref !== undefined && parts.set(name, ref).size > 0;
    const isHidden = this.#product(outputs[hidden]!, (gate, squashed) => {
      const [inner] = this.#inputs(squashed, "Tanh") ?? [];
      return inner !== undefined && refKey(inner) === refKey(nextCell) && take("output", this.#sigmoid(gate));
    });
    const isKept = (ref: TensorRef): boolean =>
      this.#product(ref, (gate, last) => this.#variable(last) === cell && take("forget", this.#sigmoid(gate)));
    const isNew = (ref: TensorRef): boolean =>
      this.#product(ref, (gate, candidate) => {
        const [inner] = this.#inputs(candidate, "Tanh") ?? [];
        return take("candidate", inner) && take("input", this.#sigmoid(gate));
      });
    const isCell = this.#sum(nextCell, (kept, added) => isKept(kept) && isNew(added));
    if (!isHidden || !isCell) return undefined;
    const refs = ["input", "output", "forget", "candidate"].map((name) => parts.get(name)!);
    const split = this.#node(refs[0]!);
    const quarters = refs.map(({ index }) => index);
    if (split.op !== "Split" || split.attrs.int("num_split") !== 4 || new Set(quarters).size !== 4) return undefined;
    if (
      refs.some((ref) => ref.node !== split.name) ||
      !["1", "-1"].includes(this.#numbers(split.inputs[0]!)?.join() ?? "")
    ) {
      return undefined;
    }
    const found = this.#preactivation(split.inputs[1]!, counter, hidden);
    return found && { ...found, hidden, cell, quarters };
  }

  /** rows[counter] x kernel + hidden x recurrent + bias. */
  #preactivation(
    ref: TensorRef,
    counter: number,
    hidden: number,
  ): Pick<LstmLoop, "rows" | "kernel" | "recurrent" | "bias" | "units"> | undefined {
    const [sum = ref, bias] = this.#inputs(ref, "BiasAdd") ?? [];
    let found: { rows: number; kernel: TensorRef; recurrent: TensorRef } | undefined;
    this.#sum(sum, (left, right) => {
      const [row, kernel] = this.#matMul(left) ?? [];
      const [state, recurrent] = this.#matMul(right) ?? [];
      if (!row || !kernel || !state || !recurrent || this.#variable(state) !== hidden) return false;
      const rows = this.#rowOf(row, counter);
      if (rows !== undefined) found = { rows, kernel, recurrent };
      return rows !== undefined;
    });
    if (!found || (bias && !this.#isFixed(bias)) || !this.#isFixed(found.kernel) || !this.#isFixed(found.recurrent)) {
      return undefined;
    }
    const shapeOf = (of: TensorRef) => this.#region.infos?.get(refKey(of))?.shape;
    const [units, width] = shapeOf(found.recurrent) ?? [];
    const isKnown = units !== undefined && units > 0 && width === 4 * units && shapeOf(found.kernel)?.[1] === width;
    if (!isKnown || (bias && shapeOf(bias)?.join() !== String(width))) return undefined;
    return { ...found, bias, units };
  }

  /** The input of which `ref` is row number `counter`. */
  #rowOf(ref: TensorRef, counter: number): number | undefined {
    const [rows, at, axis] = this.#inputs(ref, "GatherV2") ?? [];
    if (!rows || !at || !axis || this.#node(ref).attrs.int("batch_dims") !== 0) return undefined;
    const input = this.#region.args.indexOf(rows.node);
    return input >= this.#carried && this.#variable(at) === counter && this.#numbers(axis)?.join() === "0"
      ? input
      : undefined;
  }

  #matMul(ref: TensorRef): readonly TensorRef[] | undefined {
    const inputs = this.#inputs(ref, "MatMul");
    if (!inputs) return undefined;
    const { attrs } = this.#node(ref);
    const isPlain = !attrs.bool("transpose_a") && !attrs.bool("transpose_b");
    return isPlain && this.#region.infos?.get(refKey(ref))?.dtype === "float32" ? inputs : undefined;
  }

  #sigmoid(ref: TensorRef): TensorRef | undefined {
    return this.#inputs(ref, "Sigmoid")?.[0];
  }

  #product(ref: TensorRef, accept: (a: TensorRef, b: TensorRef) => boolean): boolean {
    return eitherWay(this.#inputs(ref, "Mul"), accept);
  }

  #sum(ref: TensorRef, accept: (a: TensorRef, b: TensorRef) => boolean): boolean {
    return eitherWay(this.#inputs(ref, "AddV2") ?? this.#inputs(ref, "Add"), accept);
  }

  #node(ref: TensorRef): GraphNode {
    return this.#region.graph.get(ref.node)!;
  }

  /** The inputs of the node that makes `ref`, where that is an `op`. */
  #inputs(ref: TensorRef, op: string): readonly TensorRef[] | undefined {
    const node = this.#node(ref);
    return node.op === op && node.controls.length === 0 ? node.inputs : undefined;
  }

  /** The carried variable that `ref` is. */
  #variable(ref: TensorRef): number | undefined {
    const at = this.#region.args.indexOf(ref.node);
    return at >= 0 && at < this.#carried ? at : undefined;
  }

  /** True for what is the same in every turn: an input of the loop, a constant or a variable of the model. */
  #isFixed(ref: TensorRef): boolean {
    return this.#region.args.indexOf(ref.node) >= this.#carried || ["Const", "Variable"].includes(this.#node(ref).op);
  }

  #numbers(ref: TensorRef): number[] | undefined {
    const node = this.#node(ref);
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
