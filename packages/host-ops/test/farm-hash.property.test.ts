import assert from "node:assert/strict";
import fc from "fast-check";
import { FINGERPRINT, fingerprint64 } from "../src/strings/farm-hash.js";

const wrap = (value: bigint): bigint => BigInt.asUintN(64, value);
const K0 = 0xc3a5c85c97cb3127n;
const K1 = 0xb492b66fbe98f273n;
const K2 = 0x9ae16a3b2f90404fn;

/** farmhashna::HashLen0to16 and HashLen17to32 as google/farmhash has it, by BigInt. */
function twin(s: Uint8Array): bigint {
  const view = new DataView(s.buffer, s.byteOffset, s.length);
  const length = s.length;
  const rotate = (a: bigint, by: bigint): bigint => wrap((a >> by) | (a << (64n - by)));
  const shiftMix = (a: bigint): bigint => a ^ (a >> 47n);
  const mul = wrap(K2 + 2n * BigInt(length));
  const mix = (u: bigint, v: bigint): bigint => wrap(shiftMix(wrap((v ^ shiftMix(wrap((u ^ v) * mul))) * mul)) * mul);
  if (length > 16) {
    const word = (at: number): bigint => view.getBigUint64(at, true);
    const [a, b, c, d] = [word(0) * K1, word(8), word(length - 8) * mul, word(length - 16) * K2].map(wrap) as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    const turned = rotate(wrap(a + b), 43n) + rotate(c, 30n) + d;
    return mix(wrap(turned), wrap(a + rotate(wrap(b + K2), 18n) + c));
  }
  if (length >= 8) {
    const a = wrap(view.getBigUint64(0, true) + K2);
    const b = view.getBigUint64(length - 8, true);
    return mix(wrap(rotate(b, 37n) * mul + a), wrap((rotate(a, 25n) + b) * mul));
  }
  if (length >= 4) {
    const [first, last] = [view.getUint32(0, true), view.getUint32(length - 4, true)];
    return mix(BigInt(length) + (BigInt(first) << 3n), BigInt(last));
  }
  if (length === 0) return K2;
  const y = BigInt(s[0]! + s[length >> 1]! * 256);
  const z = BigInt(length + s[length - 1]! * 4);
  return wrap(shiftMix(wrap(y * K2) ^ wrap(z * K0)) * K2);
}

describe("Fingerprint64", () => {
  it("of up to 32 bytes is what 64-bit arithmetic gives, wherever they lie", () => {
    const bytes = fc.uint8Array({ maxLength: 32, size: "max" });
    const extreme = fc.array(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), { maxLength: 32, size: "max" });
    fc.assert(
      fc.property(fc.oneof(bytes, extreme.map(Uint8Array.from.bind(Uint8Array))), fc.nat(9), (text, at) => {
        const buffer = new Uint8Array(at + text.length + 3).fill(0xa5);
        buffer.set(text, at);
        fingerprint64(buffer, at, at + text.length);
        const { words, register } = FINGERPRINT;
        const found = (BigInt(words[2 * register + 1]! >>> 0) << 32n) | BigInt(words[2 * register]! >>> 0);
        assert.equal(found, twin(text));
      }),
      { numRuns: 2000 },
    );
  });
});
