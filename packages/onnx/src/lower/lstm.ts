import type { DType } from "@shardserve/tensor";
import type { Value } from "../proto/value.js";
import { asScalar, cast, concat, intVector, less, not, shapeOf, slice } from "../proto/emit.js";
import type { LstmLoop } from "./lstm-pattern.js";
import type { NodeLowering } from "./node-lowering.js";

/** Where the sums of all magnitudes stay below this, nothing in an LSTM comes near to overflow. */
const MAGNITUDE_MAX = 1e18;

/** The values of a recognised loop outside of it. */
export interface LstmValues {
  readonly turns: Value;
  readonly kernel: Value;
  readonly recurrent: Value;
  readonly bias: Value | undefined;
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
  const bias = values.bias && onnxBias(n, values.bias, lstm);
  const dtypes: DType[] = n.inputs.slice(0, n.attrs.int("carried")).map(({ dtype }) => dtype);
  const stackCount = n.outputCount - dtypes.length;
  const outputs = [...dtypes, ...Array.from({ length: stackCount }, () => rows.dtype)];
  return b.choose(
    isPlain(n, lstm, values, turns),
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

/** True where the op does what the loop does: as many turns as rows, a batch, states of its size, and finite numbers. */
function isPlain(n: NodeLowering, lstm: LstmLoop, values: LstmValues, turns: Value): Value {
  const { b } = n;
  const [rows, hidden, cell] = [lstm.rows, lstm.hidden, lstm.cell].map((input) => n.x(input)) as [Value, Value, Value];
  const size = shapeOf(b, rows);
  const batch = slice(b, size, [1], [2]);
  const state = concat(b, [batch, b.ints([lstm.units])]);
  const expected = concat(b, [slice(b, size, [0], [2]), b.ints([lstm.units]), state]);
  const actual = concat(b, [turns, shapeOf(b, hidden), shapeOf(b, cell)]);
  const isSame = b.op("Equal", [actual, expected], {}, "bool");
  const every = b.op("ReduceMin", [cast(b, isSame, "int32")], { keepdims: 0 });
  const magnitude = (all: readonly Value[]): Value =>
    all.map((value) => b.op("ReduceL1", [value], { keepdims: 0 })).reduce((sum, value) => b.op("Add", [sum, value]));
  const weights = [values.kernel, values.recurrent, ...(values.bias ? [values.bias] : [])];
  const isSmall = [magnitude([rows, hidden, cell]), magnitude(weights)].map((sum) =>
    less(b, sum, b.scalar(rows.dtype, MAGNITUDE_MAX)),
  );
  const fits = values.limits.map((limit) => not(b, less(b, intVector(b, limit), turns)));
  const conditions = [cast(b, every, "bool"), less(b, b.ints([0]), batch), ...isSmall, ...fits];
  return conditions.map((value) => asScalar(b, value)).reduce((all, value) => b.op("And", [all, value]));
}

/** [inputs, 4 units] as [1, 4 units, inputs], the quarters in ONNX's order. The engine does it once, when it loads the weights. */
function onnxWeights(n: NodeLowering, value: Value, lstm: LstmLoop): Value {
  const { b } = n;
  const turned = b.op("Transpose", [reordered(n, value, lstm, 1)], { perm: [1, 0] });
  return b.op("Unsqueeze", [turned, b.ints([0])]);
}

/** [4 units] as [1, 8 units]: a second bias, for the recurrent side, is zero. */
function onnxBias(n: NodeLowering, value: Value, lstm: LstmLoop): Value {
  const { b } = n;
  const own = reordered(n, value, lstm, 0);
  const none = b.op("Sub", [own, own]);
  return b.op("Unsqueeze", [concat(b, [own, none]), b.ints([0])]);
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
