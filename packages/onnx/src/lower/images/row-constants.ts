import { elementCount, newData, type Tensor, tensor } from "@shardserve/tensor";
import { isFloat } from "../../proto/emit.js";
import type { Value } from "../../proto/value.js";
import type { NodeLowering } from "../node-lowering.js";

/**
 * Constants of one number a channel, such as the means that images are normalised by, as wide as a row of pixels. The
 * engine broadcasts the innermost dimension by a call for each repetition: of three channels that is ten times
 * slower than the arithmetic.
 */

/** Of more channels one repetition is long enough. */
const CHANNELS_MAX = 16;
/** A row beyond this is not worth its memory, and below it not its copy. */
const ROW_ELEMENTS = { min: 64, max: 2 ** 14 };

/** Both operands of an elementwise op, of which a constant may have become wider. */
export function wideOperands(n: NodeLowering): [Value, Value] {
  return [wide(n, 0, 1), wide(n, 1, 0)];
}

function wide(n: NodeLowering, constant: 0 | 1, other: 0 | 1): Value {
  const value = n.x(constant);
  const { tensor: channels } = value;
  const shape = n.shape(other);
  if (!n.b.kernels.repeatsFewSlowly || !channels || !shape || !isFloat(value.dtype)) return value;
  const count = channels.shape.at(-1) ?? 0;
  const isPerChannel = count > 1 && count <= CHANNELS_MAX && count === elementCount(channels.shape);
  if (!isPerChannel || shape.at(-1) !== count || shape.length < 3 || channels.shape.length > shape.length) return value;
  const width = shape.at(-2)!;
  if (width >= 0) {
    const elements = width * count;
    return elements >= ROW_ELEMENTS.min && elements <= ROW_ELEMENTS.max
      ? n.b.constant(repeated(channels, width))
      : value;
  }
  // Of images the width is large, whatever it is; of other things who knows.
  if (shape.length < 4) return value;
  const row = n.b.op("Shape", [n.x(other)], { start: shape.length - 2 }, "int64");
  return n.b.op("Expand", [value, row]);
}

/** [..., width, c] of a tensor [..., 1, c] or [c]. */
function repeated({ dtype, shape, data }: Tensor, width: number): Tensor {
  const row = data as Float32Array; // or other floats
  const all = newData(dtype as "float32", width * row.length);
  for (let at = 0; at < all.length; at += row.length) all.set(row, at);
  return tensor(dtype as "float32", [...shape.slice(0, -2), width, row.length], all);
}
