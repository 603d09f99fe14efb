/** Windows of images around given places, with noise where they leave the image (tf.image.extract_glimpse). */
import { systemRandom } from "@shardserve/core";
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";

const { fround } = Math;
const random = systemRandom();

type Noise = "uniform" | "gaussian" | "zero";

function noiseOf(op: OpCall): Noise {
  const [noise, isUniform] = [op.attrs.text("noise"), op.attrs.bool("uniform_noise")];
  check(
    !isUniform || noise === "" || noise === "uniform",
    () => "The uniform_noise and noise could not be specified at the same time",
  );
  if (noise === "") return isUniform ? "uniform" : "gaussian";
  check(
    noise === "uniform" || noise === "gaussian" || noise === "zero",
    () => `The noise could only be uniform, gaussian, or zero, got${noise}`,
  );
  return noise as Noise;
}

function uniform(): number {
  return random.uint32() / 2 ** 32;
}

function normal(): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/**
 * Where the window begins along one dimension, in whole pixels. The first form of the op halves offsets from the centre and takes all for
 * those of the window's middle, the second only where they are normalised too.
 */
function startOf(op: OpCall, offset: number, length: number, size: number): number {
  const isFirst = op.node.op === "ExtractGlimpse";
  const [isCentred, isNormalised] = [op.attrs.bool("centered"), op.attrs.bool("normalized")];
  let at = isNormalised ? fround(offset * length) : offset;
  if (isCentred) at = fround((isFirst || isNormalised ? fround(at / 2) : at) + length / 2);
  if (isFirst || (isCentred && isNormalised)) at = fround(at - size / 2);
  return Math.trunc(at);
}

/** Draws what stands outside of an image, from the image's own values. */
function drawOf(noise: Noise, image: ArrayLike<number>): () => number {
  if (noise === "zero") return () => 0;
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (let i = 0; i < image.length; i++) {
    least = Math.min(least, image[i]!);
    most = Math.max(most, image[i]!);
    sum += image[i]!;
  }
  if (noise === "uniform") return () => least + uniform() * (most - least);
  const mean = sum / image.length;
  let squares = 0;
  for (let i = 0; i < image.length; i++) squares += (image[i]! - mean) ** 2;
  const deviation = Math.sqrt(squares / image.length);
  return () => Math.min(most, Math.max(least, mean + normal() * deviation));
}

function extractGlimpse(op: OpCall): Tensor[] {
  const [input, size, offsets] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(
    input.shape.length === 4,
    () => `input must be 4-dimensional (batch_size, height, width, depth)${printShape(input.shape)}`,
  );
  const [batch, height, width, channels] = input.shape as [number, number, number, number];
  check(
    size.shape.length === 1 && size.shape[0] === 2,
    () => `input must be a vector of size 2 (height, width)${printShape(size.shape)}`,
  );
  check(offsets.shape.length === 2, () => `input must be a matrix${printShape(offsets.shape)}`);
  check(offsets.shape[0] === batch, () => `first dimension should be batch${printShape(offsets.shape)}`);
  check(offsets.shape[1] === 2, () => `second dimension should be of size 2 (y,x)${printShape(offsets.shape)}`);
  const [rows, columns] = numbersOf(size) as unknown as [number, number];
  const noise = noiseOf(op);
  const shape = [batch, rows, columns, channels];
  const out = allocate("float32", checkedCount("float32", shape));
  const [values, places] = [numbersOf(input), numbersOf(offsets)];
  const perImage = height * width * channels;
  for (let b = 0; b < batch; b++) {
    const image = values.subarray(b * perImage, (b + 1) * perImage);
    const draw = drawOf(noise, image);
    const top = startOf(op, places[2 * b]!, height, rows);
    const left = startOf(op, places[2 * b + 1]!, width, columns);
    for (let i = 0; i < rows * columns; i++) {
      const [y, x] = [top + Math.floor(i / columns), left + (i % columns)];
      const isInside = y >= 0 && y < height && x >= 0 && x < width;
      const to = (b * rows * columns + i) * channels;
      for (let c = 0; c < channels; c++) out[to + c] = isInside ? image[(y * width + x) * channels + c]! : draw();
    }
  }
  return [tensor("float32", shape, out)];
}

export const GLIMPSE_KERNELS: Readonly<Record<string, Kernel>> = {
  ExtractGlimpse: extractGlimpse,
  ExtractGlimpseV2: extractGlimpse,
};
