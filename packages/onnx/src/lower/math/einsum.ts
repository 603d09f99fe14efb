import type { Value } from "../../proto/value.js";
import { concat, dtypes, shapeOf, slice, transpose } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

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

/** A value with a label and a length for each dimension; undefined where only a run knows it. */
interface Operand {
  readonly value: Value;
  readonly labels: Labels;
  readonly lengths: readonly (number | undefined)[];
}

/** One operand of the product: its dimensions in order, the batch ones first. */
interface Side {
  readonly batch: Labels;
  readonly moved: Operand;
}

interface Equation {
  readonly operands: readonly Labels[];
  readonly result: Labels;
  readonly ellipsis: Labels;
}

const einsum: Lower = (n) => {
  if (!KERNELS.has(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
  const { operands, result, ellipsis } = parse(n);
  const given = operands.map(
    (labels, i): Operand => ({
      value: checkedRank(n, i, labels),
      labels,
      lengths: labels.map((_, axis) => n.dim(i, axis)),
    }),
  );
  if (given.length === 1) return reduced(n, given[0]!, result).value;
  const [left, right] = given as [Operand, Operand];
  const keep = (labels: Labels, other: Labels) =>
    labels.filter((label) => other.includes(label) || result.includes(label) || ellipsis.includes(label));
  // What appears in one operand only and not in the result is summed over beforehand.
  const a = reduced(n, left, keep(left.labels, right.labels));
  const c = reduced(n, right, keep(right.labels, left.labels));
  // The side whose label the result ends with comes last: its labels are the columns.
  return c.labels.includes(result.at(-1)!) ? product(n, a, c, result, ellipsis) : product(n, c, a, result, ellipsis);
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
function reduced(n: NodeLowering, { value, labels, lengths }: Operand, wanted: Labels): Operand {
  const dropped = labels.flatMap((label, axis) => (wanted.includes(label) ? [] : [axis]));
  const kept = labels.filter((label) => wanted.includes(label));
  const sum = dropped.length === 0 ? value : n.b.op("ReduceSum", [value, n.b.ints(dropped)], { keepdims: 0 });
  const order = wanted.map((label) => kept.indexOf(label));
  return { value: transpose(n.b, sum, order), labels: wanted, lengths: wanted.map((l) => lengths[labels.indexOf(l)]) };
}

function product(n: NodeLowering, left: Operand, right: Operand, result: Labels, ellipsis: Labels): Value {
  const shared = left.labels.filter((label) => right.labels.includes(label));
  const own = shared.filter((label) => result.includes(label) && !ellipsis.includes(label));
  const contracted = shared.filter((label) => !result.includes(label) && !ellipsis.includes(label));
  const isFree = (label: string) => !shared.includes(label) && !ellipsis.includes(label);
  const rows = left.labels.filter(isFree);
  const columns = right.labels.filter(isFree);
  const ordered = (side: Operand, inner: Labels): Side => {
    // An operand with fewer dimensions under the ellipsis broadcasts: they are aligned at the last one, before `own`.
    const batch = [...ellipsis.filter((label) => side.labels.includes(label)), ...own];
    return { batch, moved: reduced(n, side, [...batch, ...inner]) };
  };
  const a = ordered(left, [...rows, ...contracted]);
  const c = ordered(right, [...contracted, ...columns]);
  const batch = [...ellipsis, ...own];
  // Without batch dimensions a product takes any number of rows as they are.
  const rowGroups = batch.length === 0 && rows.length > 0 ? rows.map((label) => [label]) : [rows];
  const each = (labels: Labels) => labels.map((label) => [label]);
  const multiplied = n.b.op("MatMul", [
    merged(n, a.moved, [...each(a.batch), ...rowGroups, contracted]),
    merged(n, c.moved, [...each(c.batch), contracted, columns]),
  ]);
  const spread = split(n, multiplied, [...each(batch), ...rowGroups, columns], [a.moved, c.moved]);
  const given = [...batch, ...rows, ...columns];
  return transpose(
    n.b,
    spread,
    result.map((label) => given.indexOf(label)),
  );
}

/** The operand with one dimension for each group of neighbouring labels; of an empty group the dimension is 1. */
function merged(n: NodeLowering, { value, lengths }: Operand, groups: readonly Labels[]): Value {
  if (groups.every(({ length }) => length === 1)) return value;
  let axis = 0;
  let shape: Value | undefined;
  const target = groups.map(({ length: count }, to): Length => {
    const start = axis;
    axis += count;
    const known = lengthOf(lengths.slice(start, axis));
    if (count === 1 && start === to) return known ?? 0;
    if (known !== undefined) return known;
    const range = slice(n.b, (shape ??= shapeOf(n.b, value)), [start], [axis]);
    return count === 1 ? range : n.b.op("ReduceProd", [range], { keepdims: 1 });
  });
  return reshaped(n, value, target);
}

/** The product with one dimension for each label, whose lengths the operands have. */
function split(n: NodeLowering, value: Value, groups: readonly Labels[], sides: readonly Operand[]): Value {
  if (groups.every(({ length }) => length === 1)) return value;
  const isAligned = (to: number) => groups.slice(0, to).every(({ length }) => length === 1);
  const target = groups.flatMap((group, to): Length[] => {
    if (group.length === 1 && isAligned(to)) return [0];
    return group.map((label) => {
      const side = sides.find(({ labels }) => labels.includes(label))!;
      const axis = side.labels.indexOf(label);
      return lengthOf([side.lengths[axis]]) ?? slice(n.b, shapeOf(n.b, side.value), [axis], [axis + 1]);
    });
  });
  return reshaped(n, value, target);
}

/** A length that is known, 0 = that of the same dimension as it is, or one that only a run knows: an int64 vector of one element. */
type Length = number | Value;

/** Product of lengths; undefined where it is not known, or nothing. */
function lengthOf(lengths: readonly (number | undefined)[]): number | undefined {
  const product = lengths.reduce<number | undefined>(
    (a, b) => (a === undefined || b === undefined ? undefined : a * b),
    1,
  );
  return product === 0 ? undefined : product;
}

function reshaped({ b }: NodeLowering, value: Value, target: readonly Length[]): Value {
  if (target.every((length) => typeof length === "number")) {
    return b.reshapedWeight(value, target) ?? b.op("Reshape", [value, b.ints(target)]);
  }
  const parts = target.map((length, axis) => {
    if (typeof length !== "number") return length;
    return length > 0 ? b.ints([length]) : slice(b, shapeOf(b, value), [axis], [axis + 1]);
  });
  return b.op("Reshape", [value, concat(b, parts)], { allowzero: 1 });
}

export const einsums: LoweringTable = { Einsum: einsum };
