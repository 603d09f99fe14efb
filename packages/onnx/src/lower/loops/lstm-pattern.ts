import { type Region, refKey, type TensorRef } from "@shardserve/graph";
import { joinedGates } from "./joined-gates.js";
import { type Linear, LinearReader } from "./linear.js";
import type { NodeLowering } from "../node-lowering.js";
import { RegionReader } from "./region-reader.js";

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
  /** Two at most, each [4 units]. */
  readonly biases: readonly TensorRef[];
  readonly units: number;
  /** Which quarter of the kernels is the input gate's, the output gate's, the forget gate's and the candidate's: ONNX's order. */
  readonly quarters: readonly number[];
  /** Values of the body that no turn changes, and that must be the batch. */
  readonly rowCounts: readonly TensorRef[];
}

/**
 * Recognises an LSTM with sigmoid gates and tanh, in float32, whose gates come of joined products: what Keras and Flax write, whatever
 * the order of operands and gates.
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
    const found = new LstmReader(reader).lstm(time.counter, hidden, cell);
    const isStackOfHidden = (ref: TensorRef): boolean => refKey(ref) === refKey(body.outputs[hidden]!);
    if (found && body.outputs.slice(carried).every(isStackOfHidden)) return { ...found, turns: time.limit };
  }
  return undefined;
}

/** Reads the body of a loop as a turn of an LSTM. */
class LstmReader {
  readonly #reader: RegionReader;

  constructor(reader: RegionReader) {
    this.#reader = reader;
  }

  /** A turn of an LSTM. */
  lstm(counter: number, hidden: number, cell: number): Omit<LstmLoop, "turns"> | undefined {
    const { outputs } = this.#reader.region;
    const nextCell = outputs[cell]!;
    const parts = new Map<string, TensorRef>();
    const take = (name: string, ref: TensorRef | undefined): boolean =>
      ref !== undefined && parts.set(name, ref).size > 0;
    const isHidden = this.#reader.product(outputs[hidden]!, (gate, squashed) => {
      const [inner] = this.#reader.inputs(squashed, "Tanh") ?? [];
      return inner !== undefined && refKey(inner) === refKey(nextCell) && take("output", this.#reader.sigmoid(gate));
    });
    const isKept = (ref: TensorRef): boolean =>
      this.#reader.product(
        ref,
        (gate, last) => this.#reader.variable(last) === cell && take("forget", this.#reader.sigmoid(gate)),
      );
    const isNew = (ref: TensorRef): boolean =>
      this.#reader.product(ref, (gate, candidate) => {
        const [inner] = this.#reader.inputs(candidate, "Tanh") ?? [];
        return take("candidate", inner) && take("input", this.#reader.sigmoid(gate));
      });
    const isCell = this.#reader.sum(nextCell, (kept, added) => isKept(kept) && isNew(added));
    if (!isHidden || !isCell) return undefined;
    const refs = ["input", "output", "forget", "candidate"].map((name) => parts.get(name)!);
    const gates = joinedGates(this.#reader, refs);
    const found = gates && this.#preactivation(new LinearReader(this.#reader, counter, hidden).sum(gates.sums));
    return found && { ...found, hidden, cell, quarters: gates.quarters, rowCounts: gates.rowCounts };
  }

  /** rows[counter] x kernel + hidden x recurrent + biases, of all gates. */
  #preactivation(
    linear: Linear | undefined,
  ): Pick<LstmLoop, "rows" | "kernel" | "recurrent" | "biases" | "units"> | undefined {
    const { rows, kernel, recurrent, biases } = linear ?? { biases: [] };
    if (rows === undefined || !kernel || !recurrent || biases.length > 2) return undefined;
    const [units, width] = this.#reader.shape(recurrent) ?? [];
    const isKnown =
      units !== undefined && units > 0 && width === 4 * units && this.#reader.shape(kernel)?.[1] === width;
    const fits = biases.every((bias) => this.#reader.shape(bias)?.join() === String(width));
    return isKnown && fits ? { rows, kernel, recurrent, biases, units } : undefined;
  }
}
