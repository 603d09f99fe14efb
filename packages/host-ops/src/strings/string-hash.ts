/** Strings to buckets. */
import { lanesOf, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid } from "../call/errors.js";
import { storeAt } from "../call/int64.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { FINGERPRINT, fingerprint64, fingerprintModulo } from "./farm-hash.js";
import { murmurModulo } from "./murmur-hash.js";
import { sipHashModulo, sipKey, type SipKey } from "./sip-hash.js";

type HashModulo = (bytes: Uint8Array, start: number, end: number, divisor: number) => number;

function buckets(op: OpCall, hash: HashModulo): Tensor[] {
  const count = op.attrs.int("num_buckets");
  check(count > 0, () => `num_buckets must be positive, got ${count}`);
  const input = op.tensor(0);
  const { bytes, offsets, length } = op.strings(0);
  const out = allocate("int64", length);
  const lanes = lanesOf(out);
  for (let i = 0; i < length; i++) storeAt(lanes, i, hash(bytes, offsets[i]!, offsets[i + 1]!, count));
  return [tensor("int64", input.shape, out)];
}

/** Fingerprints of all strings, as int64 bit patterns. */
export function fingerprints(column: StringColumn): BigInt64Array {
  const out = new BigInt64Array(column.length);
  const lanes = lanesOf(out);
  const { words, register } = FINGERPRINT;
  for (let i = 0; i < column.length; i++) {
    fingerprint64(column.bytes, column.offsets[i]!, column.offsets[i + 1]!);
    lanes[2 * i] = words[2 * register]!;
    lanes[2 * i + 1] = words[2 * register + 1]!;
  }
  return out;
}

export const STRING_HASH_KERNELS: Readonly<Record<string, Kernel>> = {
  StringToHashBucketFast: (op) => buckets(op, fingerprintModulo),
  StringToHashBucket: (op) => buckets(op, murmurModulo),
  StringToHashBucketStrong: (op) => {
    const key = keyOf(op);
    return buckets(op, (bytes, start, end, divisor) => sipHashModulo(bytes, start, end, key, divisor));
  },
};

function keyOf(op: OpCall): SipKey {
  // Not attrs.ints: a key may take all 64 bits.
  const [first, second, ...rest] = op.attrs.get("key") as readonly (bigint | number)[];
  if (first === undefined || second === undefined || rest.length > 0) throw invalid("Key must have 2 elements");
  return sipKey(BigInt(first), BigInt(second));
}
