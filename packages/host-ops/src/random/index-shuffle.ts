/** RandomIndexShuffle: where an index stands in a random permutation, by a block cipher (Simon, with few rounds) whose blocks hold the range. */
import { type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { inTurns, type Pieces } from "../call/turns.js";

/** Smaller blocks would show patterns. */
const BLOCK_BITS_MIN = 16;
/** Multiplications that take as long as one round of the key and of the block, which goes round up to four times on average. */
const WORK_PER_ROUND = 1024;
const ROUND_CONSTANT = 0xffff_fffcn;
const ROUND_SEQUENCE = 0x7369_f885_192c_0ef5n;

/** A cipher of words of so many bits. */
class Cipher {
  readonly #bits: bigint;
  readonly #mask: bigint;
  readonly #keys: readonly bigint[];

  constructor(bits: number, key: readonly bigint[], rounds: number) {
    this.#bits = BigInt(bits);
    this.#mask = (1n << this.#bits) - 1n;
    const keys = key.map((word) => word & this.#mask);
    for (let i = 3, z = ROUND_SEQUENCE & this.#mask; i < rounds; i++, z >>= 1n) {
      const last = keys[i - 1]!;
      keys.push(
        (ROUND_CONSTANT & this.#mask) ^ (z & 1n) ^ keys[i - 3]! ^ this.#right(last, 3n) ^ this.#right(last, 4n),
      );
    }
    this.#keys = keys;
  }

  encrypt(value: bigint): bigint {
    let [left, right] = [(value >> this.#bits) & this.#mask, value & this.#mask];
    for (let i = 0; i < this.#keys.length; i += 2) {
      left ^= this.#mix(right) ^ this.#keys[i]!;
      right ^= this.#mix(left) ^ this.#keys[i + 1]!;
    }
    return (left << this.#bits) | right;
  }

  #mix(word: bigint): bigint {
    return (this.#left(word, 1n) & this.#left(word, 8n)) ^ this.#left(word, 2n);
  }

  #left(word: bigint, by: bigint): bigint {
    return ((word << by) | (word >> (this.#bits - by))) & this.#mask;
  }

  #right(word: bigint, by: bigint): bigint {
    return this.#left(word, this.#bits - by);
  }
}

function shuffled(index: bigint, key: readonly bigint[], most: bigint, rounds: number): bigint {
  if (most === 0n) return 0n;
  const bits = Math.ceil(Math.log2(Number(most)));
  const cipher = new Cipher(Math.min(64, Math.max(bits + (bits % 2), BLOCK_BITS_MIN)) / 2, key, rounds);
  // What falls out of the range goes round once more.
  let at = cipher.encrypt(index);
  while (at > most) at = cipher.encrypt(at);
  return at;
}

function* indexShuffle(op: OpCall): Pieces<Tensor[]> {
  const [index, seed, most] = op.tensors(0, 3) as [Tensor, Tensor, Tensor];
  const rounds = op.attrs.int("rounds");
  check(rounds >= 4 && rounds % 2 === 0, () => `Rounds must be even and at least 4, got ${rounds}`);
  const [indices, seeds, limits] = [index, seed, most].map(({ data }) =>
    Array.from(data as unknown as ArrayLike<number | bigint>, BigInt),
  ) as [bigint[], bigint[], bigint[]];
  const count = Math.max(indices.length, limits.length, Math.floor(seeds.length / 3));
  const isVector = ({ shape }: Tensor): boolean => shape.length === 0 || (shape.length === 1 && shape[0] === count);
  check(isVector(index), () => "Index must be a scalar or vector.");
  check(
    (seed.shape.length === 1 && seed.shape[0] === 3) ||
      (seed.shape.length === 2 && seed.shape[0] === count && seed.shape[1] === 3),
    () => `Seed must be a vector of size [3] or a matrix of size [${count}, 3] but got ${printShape(seed.shape)}.`,
  );
  check(
    isVector(most),
    () => `Maxval must be a scalar or a vector of the same size as index but got ${printShape(most.shape)}`,
  );
  const isScalar = index.shape.length === 0 && most.shape.length === 0 && seed.shape.length === 1;
  const out = allocate(index.dtype as "int32", count) as Int32Array | BigInt64Array;
  for (let i = 0; i < count; i++) {
    const row = seed.shape.length === 1 ? 0 : 3 * i;
    const key = [0, 1, 2].map((k) => BigInt.asUintN(32, seeds[row + k]!));
    const from = indices[index.shape.length === 0 ? 0 : i]!;
    const limit = limits[most.shape.length === 0 ? 0 : i]!;
    check(from >= 0n, () => `index must be >= 0 but was ${from}`);
    check(limit >= 0n, () => `max_index must be >= 0 but was ${limit}`);
    check(limit >= from, () => `max_index must be >= index, but ${limit} < ${from}`);
    yield WORK_PER_ROUND * rounds;
    const at = shuffled(from, key, limit, rounds);
    out[i] = out instanceof Int32Array || out instanceof Uint32Array ? Number(at) : at;
  }
  return [withData(index.dtype, isScalar ? [] : [count], out)];
}

export const INDEX_SHUFFLE_KERNELS: Readonly<Record<string, Kernel>> = { RandomIndexShuffle: inTurns(indexShuffle) };
