import type { Value } from "../../proto/value.js";
import { concat, INT64_MIN, less, shapeOf, zeroOrFail } from "../../proto/emit.js";
import type { Lower, NodeLowering } from "../node-lowering.js";

/** MirrorPad, axis by axis: a reversed slice before and one after. */
export const mirrorPad: Lower = (n) => {
  const { b } = n;
  const counts = n.needNumbers(1);
  const isReflected = n.attrs.text("mode") === "REFLECT";
  const rank = counts.length / 2;
  const skipped = isReflected ? 1 : 0;
  const zeros = isReflected ? zerosIfFilled(n) : undefined;
  let value = n.x(0);
  if (zeros && counts.every((count) => count === 0))
    return b.op("Reshape", [value, b.op("Add", [shapeOf(b, value), zeros])], { allowzero: 1 });
  for (let axis = 0; axis < rank; axis++) {
    const mirrored = (start: number, end: number | bigint, count: number) => {
      const part = b.op("Slice", [value, b.ints([start]), b.ints([end]), b.ints([axis]), b.ints([-1])]);
      // Too large a padding is an error: the part would be shorter than `count`.
      const lengths = b.ints(Array.from({ length: rank }, (_, i) => (i === axis ? count : 0)));
      return b.op("Reshape", [part, zeros ? b.op("Add", [lengths, zeros]) : lengths]);
    };
    const [before, after] = [counts[2 * axis]!, counts[2 * axis + 1]!];
    const parts = [value];
    if (before > 0) parts.unshift(mirrored(before + skipped - 1, skipped === 1 ? 0 : INT64_MIN, before));
    if (after > 0) parts.push(mirrored(-1 - skipped, -1 - skipped - after, after));
    value = concat(b, parts, axis);
  }
  return value;
};

/**
 * TensorFlow reflects nothing where any dimension has nothing, a batch without examples too. Zeros for each dimension, in a run that has
 * no such one; undefined where all are known to have something.
 */
function zerosIfFilled(n: NodeLowering): Value | undefined {
  if (n.shape(0)?.every((length) => length > 0)) return undefined;
  return zeroOrFail(n.b, less(n.b, shapeOf(n.b, n.x(0)), n.b.scalar("int64", 1)));
}
