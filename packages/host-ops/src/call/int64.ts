/**
 * int64 by 32-bit lanes, low lane first, without a BigInt per element. Values within +-2^53 travel as numbers; the
 * few beyond are rare in practice (hash ids that were not reduced yet) and go through BigInt one by one.
 */
import { lanesOf, type Tensor, zeroedArray } from "@shardserve/tensor";

const TWO_32 = 0x1_0000_0000;
/** High lanes in [-2^21, 2^21) mean |value| <= 2^53. */
const SAFE_HIGH = 0x20_0000;

/** True when element i, given its lanes, is exact as a number. */
export function isSafeAt(lanes: Int32Array, i: number): boolean {
  const high = lanes[2 * i + 1]!;
  return high >= -SAFE_HIGH && high < SAFE_HIGH;
}

/** Element i of signed lanes as a number; rounded beyond 2^53. */
export function signedAt(lanes: Int32Array, i: number): number {
  return lanes[2 * i + 1]! * TWO_32 + (lanes[2 * i]! >>> 0);
}

/** Element i of unsigned lanes as a number; rounded beyond 2^53. */
function unsignedAt(lanes: Int32Array, i: number): number {
  return (lanes[2 * i + 1]! >>> 0) * TWO_32 + (lanes[2 * i]! >>> 0);
}

/** Stores an integer of at most 2^63 in magnitude; exact whenever the number is. */
export function storeAt(lanes: Int32Array, i: number, value: number): void {
  lanes[2 * i] = value;
  lanes[2 * i + 1] = Math.floor(value / TWO_32);
}

/** True when every element is exact as a number. */
export function allSafe(data: BigInt64Array | BigUint64Array): boolean {
  const lanes = lanesOf(data);
  if (data instanceof BigUint64Array) {
    for (let i = 1; i < lanes.length; i += 2) if (lanes[i]! >>> 0 >= SAFE_HIGH) return false;
    return true;
  }
  for (let i = 0; i < data.length; i++) if (!isSafeAt(lanes, i)) return false;
  return true;
}

/** All elements as numbers; rounded beyond 2^53. */
export function toDoubles(data: BigInt64Array | BigUint64Array): Float64Array {
  const lanes = lanesOf(data);
  const out = zeroedArray(Float64Array, data.length);
  if (data instanceof BigUint64Array) for (let i = 0; i < out.length; i++) out[i] = unsignedAt(lanes, i);
  else for (let i = 0; i < out.length; i++) out[i] = signedAt(lanes, i);
  return out;
}

/** Zeroed int64 data and its lanes, to be filled by {@link storeAt}. */
export function int64Data(length: number): { readonly data: BigInt64Array; readonly lanes: Int32Array } {
  const data = zeroedArray(BigInt64Array, length);
  return { data, lanes: lanesOf(data) };
}

/** Integers (exact as numbers) as int64 data. */
export function fromIntegers(values: ArrayLike<number>): BigInt64Array {
  const { data, lanes } = int64Data(values.length);
  for (let i = 0; i < values.length; i++) storeAt(lanes, i, values[i]!);
  return data;
}

/** int32 data as it is, int64 data as lanes: element i begins at `i * width`, and its last entry tells the sign. */
export function wordsOf(value: Tensor): { readonly words: Int32Array; readonly width: 1 | 2 } {
  return value.dtype === "int32"
    ? { words: value.data as Int32Array, width: 1 }
    : { words: lanesOf(value.data as BigInt64Array), width: 2 };
}
