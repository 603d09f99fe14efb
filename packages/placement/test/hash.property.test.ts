import assert from "node:assert/strict";
import { hashPoint, mix64, mix64Mod } from "@shardserve/placement";
import fc from "fast-check";

/** The slow twin, on BigInt. */
function twin(word: bigint): bigint {
  const mask = (1n << 64n) - 1n;
  let z = word & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

const lanes = (word: bigint): [number, number] => [Number(word & 0xffffffffn), Number(word >> 32n)];

describe("mix64", () => {
  const out = new Uint32Array(3);

  it("gives the words of SplitMix64 for seed 1234567 (Vigna's reference implementation)", () => {
    const expected = [6457827717110365317n, 3203168211198807973n, 9817491932198370423n, 4593380528125082431n];
    let state = 1234567n;
    for (const word of expected) {
      state = (state + 0x9e3779b97f4a7c15n) & ((1n << 64n) - 1n);
      mix64(...lanes(state), out, 1);
      assert.equal((BigInt(out[2] as number) << 32n) | BigInt(out[1] as number), word);
    }
  });

  it("equals the BigInt twin, lanes signed or unsigned, and so does its remainder", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, (1n << 64n) - 1n), fc.integer({ min: 1, max: 1 << 26 }), (word, modulus) => {
        const [low, high] = lanes(word);
        mix64(low | 0, high | 0, out, 0);
        const mixed = (BigInt(out[1] as number) << 32n) | BigInt(out[0] as number);
        assert.equal(mixed, twin(word));
        assert.equal(mix64Mod(low, high, modulus), Number(mixed % BigInt(modulus)));
      }),
      { numRuns: 500 },
    );
  });

  it("points stay in [0, 2^53) and texts that differ anywhere get other points", () => {
    const seen = new Set<number>();
    for (let i = 0; i < 2_000; i++) {
      const point = hashPoint(`shard-${i % 100}`, Math.floor(i / 100));
      assert.ok(Number.isSafeInteger(point) && point >= 0);
      seen.add(point);
    }
    assert.equal(seen.size, 2_000);
    assert.notEqual(hashPoint("", 0), hashPoint("\0", 0));
    assert.notEqual(hashPoint("abcdefgh", 0), hashPoint("abcdefgh\0", 0));
  });
});
