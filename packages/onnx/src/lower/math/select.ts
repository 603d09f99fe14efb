import type { Value } from "../../proto/value.js";
import { concat, equal, filled, less, not, rankOf, shapeOf, slice, where, cast, zeroOrFail } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/** Comparisons, logic and element-wise choice. */

function compare(op: string): Lower {
  return (n) => n.b.op(op, [n.x(0), n.x(1)], {}, "bool");
}

/** Equal and NotEqual may be asked to answer for shapes that do not fit. */
function equality(n: NodeLowering): Value {
  const isStrict = !n.attrs.has("incompatible_shape_error") || n.attrs.bool("incompatible_shape_error");
  if (!isStrict) n.fail("shapes that do not fit are not equal");
  return equal(n.b, n.x(0), n.x(1));
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
  // One element would be broadcast where TensorFlow wants as many as there are rows.
  const rows = slice(b, shapeOf(b, yes), [0], rankOf(b, condition));
  const check = zeroOrFail(b, not(b, equal(b, shapeOf(b, condition), rows)));
  const shape = concat(b, [b.op("Add", [shapeOf(b, condition), check]), filled(b, missing, "int64", 1)]);
  return where(b, b.op("Reshape", [condition, shape], { allowzero: 1 }), yes, no);
};

const approximateEqual: Lower = (n) => {
  const difference = n.b.op("Abs", [n.b.op("Sub", [n.x(0), n.x(1)])]);
  return less(n.b, difference, n.b.scalar(n.dtype(0), n.attrs.float("tolerance")));
};

/** Where(x): indices of the true (non-zero) elements, in row-major order. */
const indicesOfTrue: Lower = (n) => {
  if (n.needRank(0) === 0) n.fail("Where of a scalar");
  const isTrue = cast(n.b, n.x(0), "bool");
  return n.b.op("Transpose", [n.b.op("NonZero", [isTrue], {}, "int64")], { perm: [1, 0] });
};

export const selection: LoweringTable = {
  Equal: equality,
  NotEqual: (n) => not(n.b, equality(n)),
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
