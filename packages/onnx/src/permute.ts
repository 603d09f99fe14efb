import { elementCount } from "@shardserve/tensor";

/**
 * Transposes row-major elements: dimension i of the result is dimension `permutation[i]` of the source.
 *
 * @param bytes         elements of `elementBytes` bytes each
 * @param shape         of the source
 * @returns a copy
 */
export function permuteBytes(
  bytes: Uint8Array,
  elementBytes: number,
  shape: readonly number[],
  permutation: readonly number[],
): Uint8Array {
  const result = new Uint8Array(bytes.length);
  const strides = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
  const lengths = permutation.map((axis) => shape[axis]!);
  const steps = permutation.map((axis) => strides[axis]!);
  const position = lengths.map(() => 0);
  const count = elementCount(shape);
  let from = 0;
  for (let to = 0; to < count; to++) {
    for (let k = 0; k < elementBytes; k++) result[to * elementBytes + k] = bytes[from * elementBytes + k]!;
    for (let axis = lengths.length - 1; axis >= 0; axis--) {
      from += steps[axis]!;
      if (++position[axis]! < lengths[axis]!) break;
      from -= steps[axis]! * lengths[axis]!;
      position[axis] = 0;
    }
  }
  return result;
}
