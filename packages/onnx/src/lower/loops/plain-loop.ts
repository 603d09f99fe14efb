import { asScalar, cast, concat, intVector, less, not, shapeOf, slice } from "../../proto/emit.js";
import type { Value } from "../../proto/value.js";
import type { NodeLowering } from "../node-lowering.js";

/** Where the sums of all magnitudes stay below this, nothing in a recurrent layer comes near to overflow. */
const MAGNITUDE_MAX = 1e18;

/** A loop over rows that is a recurrent layer, outside of it. */
export interface RecurrentValues {
  /** [turns, batch, features] */
  readonly rows: Value;
  /** Each [batch, units]. */
  readonly states: readonly Value[];
  readonly units: number;
  /** [1] */
  readonly turns: Value;
  readonly weights: readonly Value[];
  /** What lists of the loop hold at most. */
  readonly limits: readonly Value[];
  /** What the loop takes the batch to be. */
  readonly rowCounts?: readonly Value[];
}

/**
 * True where ONNX's op does what the loop does: as many turns as rows, one at least, a batch, states of its size, and finite numbers. The op ends the process
 * on an empty batch or without turns, forgets NaN, and knows no broadcasting of states.
 */
export function isPlainLoop(n: NodeLowering, recurrent: RecurrentValues): Value {
  const { rows, states, units, turns, weights, limits, rowCounts = [] } = recurrent;
  const { b } = n;
  const size = shapeOf(b, rows);
  const batch = slice(b, size, [1], [2]);
  const state = concat(b, [batch, b.ints([units])]);
  const expected = concat(b, [slice(b, size, [0], [1]), ...states.map(() => state), ...rowCounts.map(() => batch)]);
  const counts = rowCounts.map((count) => intVector(b, count));
  const actual = concat(b, [turns, ...states.map((value) => shapeOf(b, value)), ...counts]);
  const isSame = b.op("Equal", [actual, expected], {}, "bool");
  const every = b.op("ReduceMin", [cast(b, isSame, "int32")], { keepdims: 0 });
  const magnitude = (all: readonly Value[]): Value =>
    all.map((value) => b.op("ReduceL1", [value], { keepdims: 0 })).reduce((sum, value) => b.op("Add", [sum, value]));
  const isSmall = [magnitude([rows, ...states]), magnitude(weights)].map((sum) =>
    less(b, sum, b.scalar(rows.dtype, MAGNITUDE_MAX)),
  );
  const fits = limits.map((limit) => not(b, less(b, intVector(b, limit), turns)));
  const conditions = [
    cast(b, every, "bool"),
    less(b, b.ints([0]), batch),
    less(b, b.ints([0]), turns),
    ...isSmall,
    ...fits,
  ];
  return conditions.map((value) => asScalar(b, value)).reduce((all, value) => b.op("And", [all, value]));
}
