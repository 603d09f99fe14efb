import { cast, shapeOf, slice } from "../../proto/emit.js";
import type { Value } from "../../proto/value.js";
import type { LoweringTable, NodeLowering } from "../node-lowering.js";

/** Contrast of images: away from, or to, the mean of each channel of each image [..., h, w, c]. */
function adjustContrast(n: NodeLowering): Value {
  const { b } = n;
  if (n.dtype(0) === "float16") n.fail("float16 beside a factor of float32");
  const images = n.x(0);
  const rank = n.needRank(0);
  if (rank < 3) n.fail("images of fewer than 3 dimensions");
  if (n.rank(1) !== 0) n.fail("a factor that is no scalar");
  // The rows first, as they lie: vectors that are added whole. Two sums of few elements keep the digits that a long one loses.
  const row = b.op("ReduceSum", [images, b.ints([rank - 3])], { keepdims: 1 });
  const sum = b.op("ReduceSum", [row, b.ints([rank - 2])], { keepdims: 1 });
  // As wide as a row, because the engine repeats few elements at a time slowly.
  const mean = b.op("Expand", [b.op("Mul", [sum, reciprocalOfPixels(n, rank)]), shapeOf(b, row)]);
  return b.op("Add", [mean, b.op("Mul", [b.op("Sub", [images, mean]), n.x(1)])]);
}

/** 1 / (h * w) as a float32. */
function reciprocalOfPixels(n: NodeLowering, rank: number): Value {
  const { b } = n;
  const [height, width] = [n.dim(0, rank - 3), n.dim(0, rank - 2)];
  if (height && width) return b.scalar("float32", 1 / (height * width));
  const sides = slice(b, shapeOf(b, n.x(0)), [rank - 3], [rank - 1]);
  return b.op("Reciprocal", [cast(b, b.op("ReduceProd", [sides], { keepdims: 0 }), "float32")]);
}

export const contrasts: LoweringTable = { AdjustContrastv2: adjustContrast };
