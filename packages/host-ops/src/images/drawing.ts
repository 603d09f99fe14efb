/** Rectangles drawn on images. */
import type { Tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { Turns } from "../call/turns.js";

/** Red, green, blue, opacity, as the first version of the op has them and the second where it gets none. */
const COLOURS: readonly (readonly number[])[] = [
  [1, 1, 0, 1],
  [0, 0, 1, 1],
  [1, 0, 0, 1],
  [0, 1, 0, 1],
  [0.5, 0, 0.5, 1],
  [0.5, 0.5, 0, 1],
  [0.5, 0, 0, 1],
  [0, 0, 0.5, 1],
  [0, 1, 1, 1],
  [1, 0, 1, 1],
];

function coloursOf(op: OpCall, depth: number): readonly ArrayLike<number>[] {
  if (op.inputCount === 3) {
    const colours = op.tensor(2);
    check(colours.shape.length === 2, () => "colors must be a 2-D matrix");
    const [count, channels] = colours.shape as [number, number];
    check(channels >= depth, () => "colors must have equal or more channels than the image provided");
    const numbers = numbersOf(colours);
    if (count > 0) return Array.from({ length: count }, (_, i) => numbers.subarray(i * channels, (i + 1) * channels));
  }
  return depth === 1 ? [[1]] : COLOURS;
}

/** What TensorFlow's conversion to a 64-bit integer makes of what has none. */
const NO_INTEGER = -(2 ** 63);

/** Position 0 to 1 along `length` pixels as the number of a pixel, which may lie outside. */
function pixelAt(position: number, length: number): number {
  const pixel = Math.trunc(Math.fround(position * (length - 1)));
  return Math.abs(pixel) < 2 ** 63 ? pixel : NO_INTEGER;
}

/** Of a box that is not drawn, in multiplications. */
const WORK_PER_BOX = 16;

/** Images [batch, height, width, depth], boxes [batch, count, (top, left, bottom, right)]; what was drawn last is on top. */
async function drawBoxes(op: OpCall): Promise<Tensor[]> {
  const [images, boxes] = [op.tensor(0), op.tensor(1)];
  check(images.shape.length === 4, () => "The rank of the images should be 4");
  check(boxes.shape.length === 3, () => "The rank of the boxes tensor should be 3");
  check(images.shape[0] === boxes.shape[0], () => "The batch sizes should be the same");
  const [batch, height, width, depth] = images.shape as [number, number, number, number];
  check(
    depth === 1 || depth === 3 || depth === 4,
    () => "Channel depth should be either 1 (GRY), 3 (RGB), or 4 (RGBA)",
  );
  const [, perImage, corners] = boxes.shape as [number, number, number];
  check(corners === 4, () => `The size of the third dimension of the box must be 4. Received: ${corners}`);
  const colours = coloursOf(op, depth);
  const source = numbersOf(images);
  const canvas = numberArray(images.dtype, source.length);
  canvas.set(source);
  const at = numbersOf(boxes);
  const turns = new Turns(op);
  for (let i = 0; i < batch * perImage; i++) {
    if (turns.isDue(WORK_PER_BOX)) await turns.next();
    const image = Math.floor(i / perImage) * height * width;
    const colour = colours[(i % perImage) % colours.length]!;
    const [top, bottom] = [pixelAt(at[4 * i]!, height), pixelAt(at[4 * i + 2]!, height)];
    const [left, right] = [pixelAt(at[4 * i + 1]!, width), pixelAt(at[4 * i + 3]!, width)];
    const isOutside = top >= height || bottom < 0 || left >= width || right < 0;
    if (top > bottom || left > right || isOutside) continue;
    const [firstRow, lastRow] = [Math.max(top, 0), Math.min(bottom, height - 1)];
    const [firstColumn, lastColumn] = [Math.max(left, 0), Math.min(right, width - 1)];
    /** `count` pixels from one on, `step` apart. */
    const line = (from: number, count: number, step: number): void => {
      for (let k = 0; k < count; k++) {
        const pixel = (image + from + k * step) * depth;
        for (let c = 0; c < depth; c++) canvas[pixel + c] = colour[c]!;
      }
    };
    const [rows, columns] = [lastRow - firstRow + 1, lastColumn - firstColumn + 1];
    if (top >= 0) line(top * width + firstColumn, columns, 1);
    if (bottom < height) line(bottom * width + firstColumn, columns, 1);
    if (left >= 0) line(firstRow * width + left, rows, width);
    if (right < width) line(firstRow * width + right, rows, width);
    if (turns.isDue(2 * (rows + columns) * depth)) await turns.next();
  }
  return [numbersTensor(images.dtype, images.shape, canvas)];
}

export const DRAWING_KERNELS: Readonly<Record<string, Kernel>> = {
  DrawBoundingBoxes: drawBoxes,
  DrawBoundingBoxesV2: drawBoxes,
};
