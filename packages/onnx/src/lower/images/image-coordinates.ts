/** Where TensorFlow and ONNX Runtime take the samples of a resized image, computed as they do, in float32. */

export type Coordinates = "half_pixel" | "asymmetric" | "align_corners";

/**
 * By so much of a pixel a sample may be off along an axis: it is off by as much of what neighbours differ by, twice the largest value at
 * most.
 */
const OFF_MAX = 1e-6;

const single = Math.fround;

/** Whether ONNX Runtime's Resize takes the samples of an axis where TensorFlow does. */
export function agrees(coordinates: Coordinates, length: number, wanted: number): boolean {
  // ONNX Runtime cuts off what this leaves behind the point.
  if (Math.floor(single(single(wanted / length) * length)) !== wanted) return false;
  const [theirs, ours] = [tensorFlow(coordinates, length, wanted), onnxRuntime(coordinates, length, wanted)];
  return Array.from({ length: wanted }).every((_, i) => Math.abs(theirs(i) - ours(i)) <= OFF_MAX);
}

/** It multiplies by the ratio. */
function tensorFlow(coordinates: Coordinates, length: number, wanted: number): (index: number) => number {
  const isAligned = coordinates === "align_corners" && wanted > 1;
  const ratio = isAligned ? single((length - 1) / (wanted - 1)) : single(length / wanted);
  if (coordinates !== "half_pixel") return (index) => single(index * ratio);
  return (index) => single(single((index + 0.5) * ratio) - 0.5);
}

/** It divides, by the scale or by a length. */
function onnxRuntime(coordinates: Coordinates, length: number, wanted: number): (index: number) => number {
  if (coordinates === "align_corners") {
    return (index) => (wanted === 1 ? 0 : single(single(index * (length - 1)) / (wanted - 1)));
  }
  const scale = single(wanted / length);
  if (coordinates === "asymmetric") return (index) => single(index / scale);
  return (index) => single(single((index + 0.5) / scale) - 0.5);
}
