import { type Region, refKey, type TensorRef } from "@shardserve/graph";
import { type Linear, LinearReader } from "./linear.js";
import type { NodeLowering } from "../node-lowering.js";
import { RegionReader } from "./region-reader.js";

/** A loop that is a GRU: turn t reads row t of `rows` and makes the next state of the last one. */
export interface GruLoop {
  /** Position among the carried variables. */
  readonly hidden: number;
  /** Position among the loop's inputs of the rows, [turns, batch, features]. */
  readonly rows: number;
  /** A value of the condition: how many turns there are. */
  readonly turns: TensorRef;
  readonly units: number;
  /** In ONNX's order: update, reset, candidate. */
  readonly gates: readonly GruGate[];
}

/** Values of the body that no turn changes: [features, units], [units, units], [units]. */
export interface GruGate {
  readonly kernel: TensorRef;
  readonly recurrent: TensorRef;
  readonly bias: TensorRef | undefined;
  /** Added to the product with the state: in the candidate before the reset gate. */
  readonly recurrentBias: TensorRef | undefined;
}

/**
 * Recognises a GRU with sigmoid gates and tanh whose reset gate comes after the product with the state, in float32: what Flax writes, with a
 * product for each gate. Every output must be accounted for: counters that add one each turn, the state, and stacks of it.
 */
export function gruLoopOf(n: NodeLowering): GruLoop | undefined {
  const [condition, body] = n.node.regions as readonly [Region, Region];
  const carried = n.attrs.int("carried");
  const time = new RegionReader(condition, carried).lessThanFixed();
  if (!time || n.numbers(time.counter)?.[0] !== 0) return undefined;
  const reader = new RegionReader(body, carried);
  const states = Array.from({ length: carried }, (_, i) => i).filter((i) => !reader.isCounter(i));
  const [hidden] = states;
  if (hidden === undefined || states.length !== 1 || !reader.isCounter(time.counter)) return undefined;
  const isStack = (ref: TensorRef): boolean => refKey(ref) === refKey(body.outputs[hidden]!);
  if (!body.outputs.slice(carried).every(isStack)) return undefined;
  const found = new GruReader(reader, time.counter, hidden).gru();
  return found && { ...found, hidden, turns: time.limit };
}

/** Reads the body of a loop as a turn of a GRU. */
class GruReader {
  readonly #reader: RegionReader;
  readonly #hidden: number;
  readonly #linear: LinearReader;

  constructor(reader: RegionReader, counter: number, hidden: number) {
    this.#reader = reader;
    this.#hidden = hidden;
    this.#linear = new LinearReader(reader, counter, hidden);
  }

  /** (1 - update) * tanh(own + reset * past) + update * state. */
  gru(): Pick<GruLoop, "rows" | "units" | "gates"> | undefined {
    const reader = this.#reader;
    const parts = new Map<string, TensorRef>();
    const take = (name: string, ref: TensorRef | undefined): boolean =>
      ref !== undefined && parts.set(name, ref).size > 0;
    const isCandidate = (ref: TensorRef): boolean => {
      const [sum] = reader.inputs(ref, "Tanh") ?? [];
      if (!sum) return false;
      return reader.sum(
        sum,
        (own, reset) =>
          take("own", own) &&
          reader.product(reset, (gate, past) => take("reset", reader.sigmoid(gate)) && take("past", past)),
      );
    };
    const isState = reader.sum(reader.region.outputs[this.#hidden]!, (kept, added) =>
      reader.product(
        kept,
        (gate, state) =>
          reader.variable(state) === this.#hidden &&
          take("update", reader.sigmoid(gate)) &&
          reader.product(added, (rest, candidate) => this.#isRest(rest, gate) && isCandidate(candidate)),
      ),
    );
    if (!isState) return undefined;
    const [update, reset, own, past] = ["update", "reset", "own", "past"].map((name) =>
      this.#linear.of(parts.get(name)!),
    );
    if (!update || !reset || !own || !past || own.recurrent || past.kernel) return undefined;
    const candidate = { ...own, recurrent: past.recurrent };
    if (own.biases.length > 1 || past.biases.length > 1) return undefined;
    const gates = [
      gateOf(update, update.biases),
      gateOf(reset, reset.biases),
      gateOf(candidate, [own.biases[0], past.biases[0]]),
    ];
    return this.#checked([update, reset, own], gates);
  }

  /** 1 - gate. */
  #isRest(ref: TensorRef, gate: TensorRef): boolean {
    const [one, other] = this.#reader.inputs(ref, "Sub") ?? [];
    return (
      one !== undefined &&
      this.#reader.numbers(one)?.join() === "1" &&
      refKey(other!) === refKey(gate) &&
      isScalar(this.#reader, one)
    );
  }

  /** The gates, where all have the shapes of one GRU over the same rows. */
  #checked(
    sides: readonly Linear[],
    gates: readonly (GruGate | undefined)[],
  ): Pick<GruLoop, "rows" | "units" | "gates"> | undefined {
    const [rows] = sides.map((side) => side.rows);
    if (rows === undefined || sides.some((side) => side.rows !== rows) || gates.includes(undefined)) return undefined;
    const known = gates as readonly GruGate[];
    const shapeOf = (of: TensorRef): string => (this.#reader.region.infos?.get(refKey(of))?.shape ?? []).join();
    const [, units] = this.#reader.region.infos?.get(refKey(known[0]!.kernel))?.shape ?? [];
    const features = shapeOf(known[0]!.kernel);
    const fits = known.every(
      ({ kernel, recurrent, bias, recurrentBias }) =>
        shapeOf(kernel) === features &&
        shapeOf(recurrent) === `${units},${units}` &&
        [bias, recurrentBias].every((one) => !one || shapeOf(one) === String(units)),
    );
    return fits && units !== undefined && units > 0 && !features.includes("-1")
      ? { rows, units, gates: known }
      : undefined;
  }
}

function gateOf({ kernel, recurrent }: Linear, biases: readonly (TensorRef | undefined)[]): GruGate | undefined {
  const [bias, recurrentBias] = biases;
  return kernel && recurrent && biases.length <= 2 ? { kernel, recurrent, bias, recurrentBias } : undefined;
}

function isScalar(reader: RegionReader, ref: TensorRef): boolean {
  return reader.region.infos?.get(refKey(ref))?.shape?.length === 0;
}
