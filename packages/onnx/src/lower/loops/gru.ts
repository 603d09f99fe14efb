import type { DType } from "@shardserve/tensor";
import { asScalar, cast, concat, intVector } from "../../proto/emit.js";
import type { Value } from "../../proto/value.js";
import type { GruLoop } from "./gru-pattern.js";
import type { NodeLowering } from "../node-lowering.js";
import { isPlainLoop } from "./plain-loop.js";

/** The values of a recognised loop outside of it. */
export interface GruValues {
  readonly turns: Value;
  /** Of each gate. */
  readonly kernels: readonly Value[];
  readonly recurrents: readonly Value[];
  /** Two of each gate, that of the rows first. */
  readonly biases: readonly (readonly (Value | undefined)[])[];
  /** What lists of the loop hold at most. */
  readonly limits: readonly Value[];
}

/** A loop that is a GRU as ONNX's GRU, for requests that {@link isPlainLoop} says it does the same for. */
export function lowerGru(n: NodeLowering, gru: GruLoop, values: GruValues, loop: () => Value[]): Value[] {
  const { b } = n;
  const [rows, hidden] = [n.x(gru.rows), n.x(gru.hidden)];
  const turns = intVector(b, values.turns);
  const dtypes: DType[] = n.inputs.slice(0, n.attrs.int("carried")).map(({ dtype }) => dtype);
  const stackCount = n.outputCount - dtypes.length;
  const biases = values.biases.flat().filter((bias) => bias !== undefined);
  const weights = [...values.kernels, ...values.recurrents, ...biases];
  const isPlain = isPlainLoop(n, { rows, states: [hidden], units: gru.units, turns, weights, limits: values.limits });
  const outputs = [...dtypes, ...Array.from({ length: stackCount }, () => rows.dtype)];
  return b.choose(
    isPlain,
    outputs,
    () => {
      const [kernel, recurrent] = [values.kernels, values.recurrents].map((gates) => onnxWeights(n, gates));
      const state = b.op("Unsqueeze", [hidden, b.ints([0])]);
      const inputs = [rows, kernel!, recurrent!, onnxBias(n, gru, values), undefined, state];
      const attrs = { hidden_size: gru.units, linear_before_reset: 1 };
      const [stack, last] = b.ops("GRU", inputs, [rows.dtype, rows.dtype], attrs) as [Value, Value];
      const squeezed = (value: Value, axis: number): Value => b.op("Squeeze", [value, b.ints([axis])]);
      const carried = dtypes.map((dtype, i) =>
        i === gru.hidden ? squeezed(last, 0) : b.op("Add", [n.x(i), cast(b, asScalar(b, turns), dtype)]),
      );
      return [...carried, ...Array.from({ length: stackCount }, () => squeezed(stack, 1))];
    },
    loop,
  );
}

/** [inputs, units] of each gate as [1, 3 units, inputs]. The engine does it once, when it loads the weights. */
function onnxWeights({ b }: NodeLowering, gates: readonly Value[]): Value {
  const turned = gates.map((gate) => b.op("Transpose", [gate], { perm: [1, 0] }));
  return b.op("Unsqueeze", [concat(b, turned), b.ints([0])]);
}

/** [units] of each gate as [1, 6 units], those of the state behind those of the rows. */
function onnxBias({ b }: NodeLowering, { units }: GruLoop, { biases }: GruValues): Value {
  const none = b.constant({ dtype: "float32", shape: [units], data: new Float32Array(units) });
  const all = [0, 1].flatMap((side) => biases.map((pair) => pair[side] ?? none));
  return b.op("Unsqueeze", [concat(b, all), b.ints([0])]);
}
