import type { Value } from "../../proto/value.js";
import { cast, concat, INT64_MAX, INT64_MIN } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/**
 * StridedSlice: numpy's x[a:b:c, i, ..., newaxis].
 *
 * Axes before an ellipsis count from the front and those after it from the back, so the rank need not be known. Slices
 * become one Slice; picked indices (shrink_axis_mask) become a Gather each, which fails when out of range as TensorFlow
 * does; new axes are inserted last.
 */

/** One entry of the subscript that takes part in the result. */
interface Entry {
  /** Position in the begin, end and strides vectors. */
  readonly at: number;
  readonly kind: "range" | "index" | "newAxis";
  /** Axis of the input; negative after an ellipsis. Unused for new axes. */
  readonly axis: number;
  readonly isAfterEllipsis: boolean;
}

const stridedSlice: Lower = (n) => {
  const count = n.dim(1, 0) ?? n.numbers(1)?.length ?? n.fail("the number of subscripts is unknown");
  const entries = parse(n, count);
  const value = insertAxes(n, pickIndices(n, sliceRanges(n, n.x(0), entries), entries), entries);
  return value;
};

function bit(n: NodeLowering, mask: string, at: number): boolean {
  return ((n.attrs.int(mask) >> at) & 1) === 1;
}

function parse(n: NodeLowering, count: number): Entry[] {
  const entries: Entry[] = [];
  let isAfterEllipsis = false;
  for (let at = 0; at < count; at++) {
    if (bit(n, "ellipsis_mask", at)) {
      if (isAfterEllipsis) n.fail("several ellipses");
      isAfterEllipsis = true;
      continue;
    }
    const isNewAxis = bit(n, "new_axis_mask", at);
    const kind = isNewAxis ? "newAxis" : bit(n, "shrink_axis_mask", at) ? "index" : "range";
    entries.push({ at, kind, axis: 0, isAfterEllipsis });
  }
  let front = 0;
  let back = -entries.filter((entry) => entry.isAfterEllipsis && entry.kind !== "newAxis").length;
  return entries.map((entry) => {
    if (entry.kind === "newAxis") return entry;
    return { ...entry, axis: entry.isAfterEllipsis ? back++ : front++ };
  });
}

/** Entry `at` of the begin or end vector as a one-element vector. */
function element(n: NodeLowering, input: 1 | 2, at: number): Value {
  const known = n.numbers(input);
  if (known) return n.b.ints([known[at]!]);
  return n.b.op("Gather", [cast(n.b, n.x(input), "int64"), n.b.ints([at])]);
}

function sliceRanges(n: NodeLowering, value: Value, entries: readonly Entry[]): Value {
  const { b } = n;
  const strides = n.needNumbers(3);
  const starts: Value[] = [];
  const ends: Value[] = [];
  const axes: number[] = [];
  const steps: number[] = [];
  for (const { at, kind, axis } of entries) {
    const step = strides[at]!;
    if (kind === "index" && step <= 0) n.fail("an index with a stride that is not positive");
    if (kind !== "range") continue;
    if (step === 0) n.fail("a stride of 0");
    if (step < 0 && !bit(n, "begin_mask", at)) checkBackwardStart(n, at, axis);
    const fromStart = bit(n, "begin_mask", at);
    const toEnd = bit(n, "end_mask", at);
    if (fromStart && toEnd && step === 1) continue;
    starts.push(fromStart ? b.ints([step > 0 ? 0 : INT64_MAX]) : element(n, 1, at));
    ends.push(toEnd ? b.ints([step > 0 ? INT64_MAX : INT64_MIN]) : element(n, 2, at));
    axes.push(axis);
    steps.push(step);
  }
  if (axes.length === 0) return value;
  return b.op("Slice", [value, joined(n, starts), joined(n, ends), b.ints(axes), b.ints(steps)]);
}

/** Backwards from before the first element there is nothing; ONNX Runtime would begin with the first. */
function checkBackwardStart(n: NodeLowering, at: number, axis: number): void {
  const start = n.numbers(1)?.[at] ?? n.fail("a backward slice from where only a run knows");
  if (start < -1 && start < -(n.dim(0, axis) ?? 1)) n.fail("a backward slice from before the first element");
}

/** One vector; constants stay constants. */
function joined(n: NodeLowering, parts: readonly Value[]): Value {
  if (parts.every((part) => part.tensor)) {
    return n.b.ints(parts.map((part) => (part.tensor!.data as BigInt64Array)[0]!));
  }
  return concat(n.b, parts);
}

function pickIndices(n: NodeLowering, value: Value, entries: readonly Entry[]): Value {
  const { b } = n;
  const picked = entries.filter((entry) => entry.kind === "index");
  // Picking removes an axis: in this order, those still to come keep their numbers.
  const order = [
    ...picked.filter((entry) => !entry.isAfterEllipsis).reverse(),
    ...picked.filter((entry) => entry.isAfterEllipsis),
  ];
  return order.reduce((from, { at, axis }) => {
    const known = n.numbers(1);
    const index = known ? b.scalar("int64", known[at]!) : b.op("Reshape", [element(n, 1, at), b.ints([])]);
    return b.op("Gather", [from, index], { axis });
  }, value);
}

function insertAxes(n: NodeLowering, value: Value, entries: readonly Entry[]): Value {
  const kept = entries.filter((entry) => entry.kind !== "index");
  const axes: number[] = [];
  const front = kept.filter((entry) => !entry.isAfterEllipsis);
  for (const [i, entry] of front.entries()) if (entry.kind === "newAxis") axes.push(i);
  const back = kept.filter((entry) => entry.isAfterEllipsis);
  for (const [i, entry] of back.entries()) if (entry.kind === "newAxis") axes.push(i - back.length);
  return axes.length === 0 ? value : n.b.op("Unsqueeze", [value, n.b.ints(axes)]);
}

export const stridedSlices: LoweringTable = { StridedSlice: stridedSlice };
