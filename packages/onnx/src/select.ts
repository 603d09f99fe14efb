import { concat, equal, filled, less, not, rankOf, shapeOf, where, cast } from "./emit.js";
import type { Lower, LoweringTable } from "./node-lowering.js";

/** Comparisons, logic and element-wise choice. */

function compare(op: string): Lower {
  return (n) => n.b.op(op, [n.x(0), n.x(1)], {}, "bool");
}

function logic(op: string): Lower {
  return (n) => n.b.op(op, [n.x(0), n.x(1)]);
}

/** Select: the condition has the values' shape, or is a scalar, or a vector that picks whole rows. */
const select: Lower = (n) => {
  const { b } = n;
  const [condition, yes, no] = [n.x(0), n.x(1), n.x(2)];
  const conditionRank = n.rank(0);
  if (conditionRank !== undefined && (conditionRank === 0 || conditionRank === n.rank(1))) {
    return where(b, condition, yes, no);
  }
  const missing = b.op("Sub", [rankOf(b, yes), rankOf(b, condition)]);
  const shape = concat(b, [shapeOf(b, condition), filled(b, missing, "int64", 1)]);
  return where(b, b.op("Reshape", [condition, shape], { allowzero: 1 }), yes, no);
};

const approximateEqual: Lower = (n) => {
  const difference = n.b.op("Abs", [n.b.op("Sub", [n.x(0), n.x(1)])]);
  return less(n.b, difference, n.b.scalar(n.dtype(0), n.attrs.float("tolerance")));
};

/** Where(x): indices of the true (non-zero) elements, in row-major order. */
const indicesOfTrue: Lower = (n) => {
  if ((n.rank(0) ?? 1) === 0) n.fail("Where of a scalar");
  const isTrue = cast(n.b, n.x(0), "bool");
  return n.b.op("Transpose", [n.b.op("NonZero", [isTrue], {}, "int64")], { perm: [1, 0] });
};

export const selection: LoweringTable = {
  Equal: compare("Equal"),
  NotEqual: (n) => not(n.b, equal(n.b, n.x(0), n.x(1))),
  Less: compare("Less"),
  LessEqual: compare("LessOrEqual"),
  Greater: compare("Greater"),
  GreaterEqual: compare("GreaterOrEqual"),
  ApproximateEqual: approximateEqual,
  LogicalAnd: logic("And"),
  LogicalOr: logic("Or"),
  LogicalNot: (n) => not(n.b, n.x(0)),
  Select: select,
  SelectV2: (n) => where(n.b, n.x(0), n.x(1), n.x(2)),
  Where: indicesOfTrue,
};
