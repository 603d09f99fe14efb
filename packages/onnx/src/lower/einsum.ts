import type { Value } from "../proto/value.js";
import { concat, dtypes, shapeOf, slice, transpose } from "../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/**
 * Einsum of one or two operands, as transpositions around one matrix product, the way TensorFlow computes it. ONNX's own
 * Einsum kills the process on empty operands and on unexpected ranks.
 *
 * Labels of both operands that the result keeps are batch dimensions; those that it drops are contracted; the others
 * belong to one side. Dimensions that an ellipsis stands for are batch dimensions that broadcast.
 */

const KERNELS = dtypes("float32 float64 float16");

/** Labels as single characters; the dimensions of an ellipsis get characters of their own. */
type Labels = readonly string[];

interface Equation {
  readonly operands: readonly Labels[];
  readonly result: Labels;
  readonly ellipsis: Labels;
}

const einsum: Lower = (n) => {
  if (!KERNELS.has(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
  const { operands, result, ellipsis } = parse(n);
  const values = operands.map((labels, i) => checkedRank(n, i, labels));
  if (values.length === 1) return reduced(n, values[0]!, operands[0]!, result);
  const [left, right] = operands as [Labels, Labels];
  const keep = (labels: Labels, other: Labels) =>
    labels.filter((label) => other.includes(label) || result.includes(label) || ellipsis.includes(label));
  // What appears in one operand only and not in the result is summed over beforehand.
  const [leftKept, rightKept] = [keep(left, right), keep(right, left)];
  const a = reduced(n, values[0]!, left, leftKept);
  const c = reduced(n, values[1]!, right, rightKept);
  return product(n, a, leftKept, c, rightKept, result, ellipsis);
};

function parse(n: NodeLowering): Equation {
  const equation = n.attrs.text("equation").replaceAll(" ", "");
  const [inputs, output] = equation.split("->");
  if (output === undefined) n.fail("an equation without a result");
  const terms = inputs!.split(",");
  if (terms.length > 2) n.fail(`${terms.length} operands`);
  const widths = terms.map((term, i) => (term.includes("...") ? n.needRank(i) - (term.length - 3) : 0));
  const width = Math.max(...widths);
  // Private-use characters stand for the ellipsis's dimensions, aligned at the last one.
  const ellipsis = Array.from({ length: width }, (_, i) => String.fromCharCode(0xe000 + i));
  const labels = (term: string, count: number): Labels =>
    Array.from(term.replace("...", "\0")).flatMap((label) =>
      label === "\0" ? ellipsis.slice(width - count) : [label],
    );
  const operands = terms.map((term, i) => labels(term, widths[i]!));
  const result = labels(output, output.includes("...") ? width : 0);
  for (const list of [...operands, result]) if (new Set(list).size !== list.length) n.fail("a repeated label");
  if (width > 0 && !output.includes("...")) n.fail("an ellipsis that the result drops");
  return { operands, result, ellipsis };
}

/** The operand, which must have one dimension per label. Keeping dimensions as they are costs no copy. */
function checkedRank(n: NodeLowering, input: number, labels: Labels): Value {
  const rank = n.rank(input);
  if (rank === labels.length) return n.x(input);
  return rank === undefined
    ? n.b.op("Reshape", [n.x(input), n.b.ints(labels.map(() => 0))])
    : n.fail(`operand ${input} has rank ${rank} instead of ${labels.length}`);
}

/** Sums over labels that `wanted` lacks, then orders the rest as it does. */
function reduced(n: NodeLowering, value: Value, labels: Labels, wanted: Labels): Value {
  const dropped = labels.flatMap((label, axis) => (wanted.includes(label) ? [] : [axis]));
  const kept = labels.filter((label) => wanted.includes(label));
  const sum = dropped.length === 0 ? value : n.b.op("ReduceSum", [value, n.b.ints(dropped)], { keepdims: 0 });
  return transpose(
    n.b,
    sum,
    wanted.map((label) => kept.indexOf(label)),
  );
}

function product(
  n: NodeLowering,
  left: Value,
  leftLabels: Labels,
  right: Value,
  rightLabels: Labels,
  result: Labels,
  ellipsis: Labels,
): Value {
  const { b } = n;
  const shared = leftLabels.filter((label) => rightLabels.includes(label));
  const own = shared.filter((label) => result.includes(label) && !ellipsis.includes(label));
  const contracted = shared.filter((label) => !result.includes(label));
  const isFree = (label: string) => !shared.includes(label) && !ellipsis.includes(label);
  const rows = leftLabels.filter(isFree);
  const columns = rightLabels.filter(isFree);
  const sides = [
    { value: left, labels: leftLabels, inner: [rows, contracted] },
    { value: right, labels: rightLabels, inner: [contracted, columns] },
  ].map(({ value, labels, inner }) => {
    const wide = ellipsis.filter((label) => labels.includes(label));
    const order = [...wide, ...own, ...inner.flat()];
    const moved = transpose(
      b,
      value,
      order.map((label) => labels.indexOf(label)),
    );
    // An operand with fewer dimensions under the ellipsis broadcasts: they are aligned at the last one, before `own`.
    const missing = ellipsis.length - wide.length;
    return { moved, shape: shapeOf(b, moved), missing, batch: wide.length + own.length, inner };
  });
  const [a, c] = sides.map(({ moved, shape, missing, batch, inner }) => {
    const lead = b.ints(Array.from({ length: missing }, () => 1));
    const [first, second] = inner as unknown as [Labels, Labels];
    const merged = [productOf(n, shape, batch, first.length), productOf(n, shape, batch + first.length, second.length)];
    return b.op("Reshape", [moved, concat(b, [lead, slice(b, shape, [0], [batch]), ...merged])], { allowzero: 1 });
  }) as [Value, Value];
  const multiplied = b.op("MatMul", [a, c]);
  const batchCount = ellipsis.length + own.length;
  const shape = concat(b, [
    slice(b, shapeOf(b, multiplied), [0], [batchCount]),
    lengths(n, sides[0]!.shape, sides[0]!.batch, rows.length),
    lengths(n, sides[1]!.shape, sides[1]!.batch + contracted.length, columns.length),
  ]);
  const given = [...ellipsis, ...own, ...rows, ...columns];
  const spread = b.op("Reshape", [multiplied, shape], { allowzero: 1 });
  return transpose(
    b,
    spread,
    result.map((label) => given.indexOf(label)),
  );
}

/** `count` entries of a shape from `start`. */
function lengths(n: NodeLowering, shape: Value, start: number, count: number): Value {
  return slice(n.b, shape, [start], [start + count]);
}

/** Their product, 1 for none. */
function productOf(n: NodeLowering, shape: Value, start: number, count: number): Value {
  return count === 1
    ? lengths(n, shape, start, 1)
    : n.b.op("ReduceProd", [lengths(n, shape, start, count)], { keepdims: 1 });
}

export const einsums: LoweringTable = { Einsum: einsum };
