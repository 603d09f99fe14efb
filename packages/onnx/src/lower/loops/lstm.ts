import type { DType } from "@shardserve/tensor";
import type { Value } from "../../proto/value.js";
import { asScalar, cast, concat, intVector } from "../../proto/emit.js";
import type { LstmLoop } from "./lstm-pattern.js";
import type { NodeLowering } from "../node-lowering.js";
import { isPlainLoop } from "./plain-loop.js";

/** The values of a recognised loop outside of it. */
export interface LstmValues {
  readonly turns: Value;
  readonly kernel: Value;
  readonly recurrent: Value;
  readonly biases: readonly Value[];
  /** What must be the batch for the loop to be an LSTM. */
  readonly rowCounts: readonly Value[];
  /** What lists of the loop hold at most. */
  readonly limits: readonly Value[];
}

/**
 * A loop that is an LSTM as ONNX's LSTM, which multiplies the rows of all turns at once and then takes a turn for the price of
 * a node. It is not that op for every request: it ends the process on an empty batch, forgets NaN, and knows no
 * broadcasting of states; so each run looks first, and takes the loop where one of these may be.
 */
export function lowerLstm(n: NodeLowering, lstm: LstmLoop, values: LstmValues, loop: () => Value[]): Value[] {
  const { b } = n;
  const [rows, hidden, cell] = [lstm.rows, lstm.hidden, lstm.cell].map((input) => n.x(input)) as [Value, Value, Value];
  const turns = intVector(b, values.turns);
  const states = [hidden, cell].map((state) => b.op("Unsqueeze", [state, b.ints([0])]));
  const weights = [values.kernel, values.recurrent].map((value) => onnxWeights(n, value, lstm));
  const bias = values.biases.length > 0 ? onnxBias(n, values.biases, lstm) : undefined;
  const dtypes: DType[] = n.inputs.slice(0, n.attrs.int("carried")).map(({ dtype }) => dtype);
  const stackCount = n.outputCount - dtypes.length;
  const isPlain = isPlainLoop(n, {
    rows,
    states: [hidden, cell],
    units: lstm.units,
    turns,
    weights: [values.kernel, values.recurrent, ...values.biases],
    limits: values.limits,
    rowCounts: values.rowCounts,
  });
  const outputs = [...dtypes, ...Array.from({ length: stackCount }, () => rows.dtype)];
  return b.choose(
    isPlain,
    outputs,
    () => {
      const [stack, ...last] = b.ops(
        "LSTM",
        [rows, ...weights, bias, undefined, ...states],
        [rows.dtype, rows.dtype, rows.dtype],
        { hidden_size: lstm.units },
      ) as [Value, Value, Value];
      const squeezed = (value: Value, axis: number): Value => b.op("Squeeze", [value, b.ints([axis])]);
      const carried = dtypes.map((dtype, i) => {
        if (i === lstm.hidden) return squeezed(last[0]!, 0);
        if (i === lstm.cell) return squeezed(last[1]!, 0);
        return b.op("Add", [n.x(i), cast(b, asScalar(b, turns), dtype)]);
      });
      return [...carried, ...Array.from({ length: stackCount }, () => squeezed(stack, 1))];
    },
    loop,
  );
}

/** [inputs, 4 units] as [1, 4 units, inputs], the quarters in ONNX's order. The engine does it once, when it loads the weights. */
function onnxWeights(n: NodeLowering, value: Value, lstm: LstmLoop): Value {
  const { b } = n;
  const turned = b.op("Transpose", [reordered(n, value, lstm, 1)], { perm: [1, 0] });
  return b.op("Unsqueeze", [turned, b.ints([0])]);
}

/** One or two of [4 units] as [1, 8 units]: the second, for the recurrent side, is zero where there is none. */
function onnxBias(n: NodeLowering, biases: readonly Value[], lstm: LstmLoop): Value {
  const { b } = n;
  const [own, other] = biases.map((bias) => reordered(n, bias, lstm, 0));
  return b.op("Unsqueeze", [concat(b, [own!, other ?? b.op("Sub", [own!, own!])]), b.ints([0])]);
}

function reordered({ b }: NodeLowering, value: Value, { quarters }: LstmLoop, axis: number): Value {
  const parts = b.ops(
    "Split",
    [value],
    Array.from(quarters, () => value.dtype),
    { axis, num_outputs: 4 },
  );
  return concat(
    b,
    quarters.map((quarter) => parts[quarter]!),
    axis,
  );
}
