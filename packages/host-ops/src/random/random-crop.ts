/** Crops of images at random places and of random sizes. */
import { ServingError } from "@shardserve/core";
import { type Tensor, tensor } from "@shardserve/tensor";
import { copyStrided, stridesOf } from "../call/elements.js";
import { check, checkScalar, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { PhiloxStream, type Philox, toFloat } from "./philox.js";
import { blocksOf, reserve, seeded } from "./random.js";

/** Crops of the asked size, at a random place. */
function randomCrop(op: OpCall): Tensor[] {
  const [image, size] = [op.tensor(0), op.tensor(1)];
  check(image.shape.length === 3, () => `input must be 3-dimensional${printShape(image.shape)}`);
  check(
    size.shape.length === 1 && size.shape[0] === 2,
    () => `shape_t must be a vector of two elements: ${printShape(size.shape)}`,
  );
  const [height, width] = Array.from(integersOf(size)) as [number, number];
  const [rows, columns, channels] = image.shape as [number, number, number];
  checkedCount(image.dtype, [height, width, channels]);
  for (const [name, given, target] of [
    ["width", columns, width],
    ["height", rows, height],
  ] as const) {
    if (given >= target) continue;
    throw new ServingError(
      "FAILED_PRECONDITION",
      `${name} must be >= target_${name}: ${name} = ${given}, target_${name} = ${target}`,
    );
  }
  const stream = new PhiloxStream(reserve(op, 1));
  const left = columns > width ? stream.next() % (columns - width + 1) : 0;
  const top = rows > height ? stream.next() % (rows - height + 1) : 0;
  const strides = stridesOf(image.shape);
  return [copyStrided(image, top * strides[0]! + left * strides[1]!, [height, width, channels], strides)];
}

interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const areaOf = ({ left, top, right, bottom }: Box): number => Math.fround((right - left) * (bottom - top));

/** True where a crop covers enough of any of the boxes. */
function covers(crop: Box, boxes: readonly Box[], least: number): boolean {
  if (areaOf(crop) < 1) return false;
  return boxes.some((box) => {
    const area = areaOf(box);
    if (area < 1) return false;
    const common = {
      left: Math.max(crop.left, box.left),
      top: Math.max(crop.top, box.top),
      right: Math.min(crop.right, box.right),
      bottom: Math.min(crop.bottom, box.bottom),
    };
    const isApart = common.left > common.right || common.top > common.bottom;
    return Math.fround((isApart ? 0 : areaOf(common)) / area) >= least;
  });
}

/** To the nearest integer, halves to the even one, as lrintf. */
function nearest(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

const { fround } = Math;

/** A crop of a random size and place; undefined where the draw fits nowhere. Floats are rounded where TensorFlow's are. */
function drawCrop(
  width: number,
  height: number,
  areas: readonly [number, number],
  ratio: number,
  stream: PhiloxStream,
): Box | undefined {
  const [least, most] = areas;
  if (most <= 0 || ratio <= 0 || width <= 0 || height <= 0 || least > most) return undefined;
  const [areaMin, areaMax] = areas.map((share) => fround(fround(share * width) * height)) as [number, number];
  const across = (rows: number): number => nearest(fround(rows * ratio));
  let rows = nearest(fround(Math.sqrt(fround(areaMin / ratio))));
  let rowsMax = nearest(fround(Math.sqrt(fround(areaMax / ratio))));
  if (across(rowsMax) > width) rowsMax = Math.trunc((width + 0.5 - fround(1e-7)) / ratio);
  rowsMax = Math.min(rowsMax, height);
  rows = Math.min(rows, rowsMax);
  if (rows < rowsMax) rows += stream.below(rowsMax - rows + 1);
  // Sizes that rounding moved out of the range go one step back.
  if (across(rows) * rows < areaMin) rows++;
  if (across(rows) * rows > areaMax) rows--;
  const columns = across(rows);
  const area = fround(columns * rows);
  const isWithin = area >= areaMin && area <= areaMax && columns <= width && rows <= height;
  if (!isWithin || columns <= 0 || rows <= 0) return undefined;
  const top = rows < height ? stream.below(height - rows) : 0;
  const left = columns < width ? stream.below(width - columns) : 0;
  return { left, top, right: left + columns, bottom: top + rows };
}

function attrPair(op: OpCall, name: string, title: string): readonly [number, number] {
  const values = op.attrs.floats(name);
  check(values.length === 2, () => `${title} field must specify 2 dimensions`);
  check(
    values.every((value) => value > 0),
    () => `${title} must be non-negative: [${values.join(", ")}]`,
  );
  return values.map(fround) as [number, number];
}

function boxesOf(op: OpCall, width: number, height: number): Box[] {
  const value = op.tensor(1);
  check(
    value.shape.length === 3,
    () => `input boxes must be 3-dimensional [batch, num_boxes, coords]: ${printShape(value.shape)}`,
  );
  check(value.shape[2] === 4, () => `bounding boxes must have shape [4] or [*, 4], got ${printShape(value.shape)}`);
  const parts = numbersOf(value);
  for (const part of parts) {
    check(part >= 0 && part <= 1, () => `All bounding box coordinates must be in [0.0, 1.0]: ${part}`);
  }
  const boxes: Box[] = [];
  for (let i = 0; i < parts.length; i += 4) {
    const at = (k: number, size: number): number => Math.trunc(fround(parts[i + k]! * size));
    boxes.push({ top: at(0, height), left: at(1, width), bottom: at(2, height), right: at(3, width) });
  }
  if (boxes.length > 0) return boxes;
  check(
    op.attrs.bool("use_image_if_no_bounding_boxes"),
    () =>
      "No bounding boxes provided as input. One must enable use_image_if_no_bounding_boxes if you wish to not provide any bounding boxes.",
  );
  return [{ left: 0, top: 0, right: width, bottom: height }];
}

/** A crop that covers enough of a box: where it begins, its size, and the box that it is. */
function distortedBox(op: OpCall, minimum: number, philoxFor: (attempts: number) => Philox): Tensor[] {
  const size = op.tensor(0);
  check(
    size.shape.length === 1 && size.shape[0] === 3,
    () => `image_size must be 1-dimensional with 3 elements: ${printShape(size.shape)}`,
  );
  check(minimum >= 0, () => `Min object covered must be non-negative: ${minimum}`);
  const ratios = attrPair(op, "aspect_ratio_range", "Aspect ratio range");
  const areas = attrPair(op, "area_range", "Area range");
  check(
    areas.every((area) => area <= 1),
    () => `Area range must be less then or equal to 1.0: [${areas.join(", ")}]`,
  );
  const attempts = op.attrs.int("max_attempts");
  check(attempts > 0, () => `Max attempts must be non-negative: ${attempts}`);
  const [height, width] = Array.from(integersOf(size)) as [number, number];
  for (const [name, given] of [
    ["height", height],
    ["width", width],
  ] as const) {
    check(given >= 0 && given < 2 ** 31 - 1, () => `image ${name} cannot be >= int32 max`);
  }
  const boxes = boxesOf(op, width, height);
  const stream = new PhiloxStream(philoxFor(attempts));
  let crop: Box = { left: 0, top: 0, right: width, bottom: height };
  for (let i = 0; i < attempts; i++) {
    const spread = fround(ratios[1] - ratios[0]);
    const ratio = fround(fround(toFloat(stream.next()) * spread) + ratios[0]);
    const drawn = drawCrop(width, height, areas, ratio, stream);
    if (!drawn || !covers(drawn, boxes, minimum)) continue;
    crop = drawn;
    break;
  }
  const vector = (...values: number[]): Tensor => {
    const out = numberArray(size.dtype, values.length);
    out.set(values);
    return numbersTensor(size.dtype, [values.length], out);
  };
  const box = Float32Array.of(crop.top / height, crop.left / width, crop.bottom / height, crop.right / width);
  return [
    vector(crop.top, crop.left, 0),
    vector(crop.bottom - crop.top, crop.right - crop.left, -1),
    tensor("float32", [1, 1, 4], box),
  ];
}

function minimumOf(op: OpCall): number {
  checkScalar(op.tensor(2), "min_object_covered");
  return numbersOf(op.tensor(2))[0]!;
}

/** Numbers that are set aside for each attempt. */
const NUMBERS_PER_ATTEMPT = 4;
const stateful = (op: OpCall) => (attempts: number) => reserve(op, blocksOf(NUMBERS_PER_ATTEMPT * attempts));

export const RANDOM_CROP_KERNELS: Readonly<Record<string, Kernel>> = {
  RandomCrop: randomCrop,
  SampleDistortedBoundingBox: (op) => distortedBox(op, fround(op.attrs.float("min_object_covered")), stateful(op)),
  SampleDistortedBoundingBoxV2: (op) => distortedBox(op, minimumOf(op), stateful(op)),
  StatelessSampleDistortedBoundingBox: (op) => distortedBox(op, minimumOf(op), () => seeded(op, 3)),
};
