import assert from "node:assert/strict";
import { permuteBytes, permuteBytesInTurns } from "../src/lower/arrays/permute.js";
import fc from "fast-check";

/** Slow twin: one element at a time through its index. */
function permuted(bytes: Uint8Array, elementBytes: number, shape: number[], permutation: number[]): Uint8Array {
  const lengths = permutation.map((axis) => shape[axis]!);
  return bytes.map((_, at) => {
    const index = shape.map(() => 0);
    let rest = Math.floor(at / elementBytes);
    for (let axis = lengths.length - 1; axis >= 0; axis--) {
      index[permutation[axis]!] = rest % lengths[axis]!;
      rest = Math.floor(rest / lengths[axis]!);
    }
    const from = index.reduce((flat, position, axis) => flat * shape[axis]! + position, 0);
    return bytes[from * elementBytes + (at % elementBytes)]!;
  });
}

/** An array at an address that is a multiple of nothing. */
function unaligned(bytes: Uint8Array): Uint8Array {
  const moved = new Uint8Array(bytes.length + 1).subarray(1);
  moved.set(bytes);
  return moved;
}

describe("permuteBytes", () => {
  it("transposes like its slow twin", () => {
    const lengths = fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 4 }) },
      fc.integer({ min: 31, max: 67 }),
    );
    const shapes = fc
      .array(lengths, { maxLength: 4 })
      .filter((shape) => shape.reduce((product, length) => product * length, 1) < 10_000);
    const cases = shapes.chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, axis) => axis),
          { minLength: shape.length },
        ),
        fc.constantFrom(1, 2, 4, 8, 16),
      ),
    );
    fc.assert(
      fc.property(cases, ([shape, permutation, elementBytes]) => {
        const count = shape.reduce((product, length) => product * length, 1);
        const bytes = Uint8Array.from({ length: count * elementBytes }, (_, i) => i * 37);
        const expected = permuted(bytes, elementBytes, shape, permutation);
        assert.deepEqual(permuteBytes(bytes, elementBytes, shape, permutation), expected);
        assert.deepEqual(permuteBytes(unaligned(bytes), elementBytes, shape, permutation), expected);
      }),
    );
  });

  it("gives way between pieces, with the same result", async () => {
    const shape = [3, 3, 128, 256];
    const bytes = new Uint8Array(Uint32Array.from({ length: 3 * 3 * 128 * 256 }, (_, i) => i).buffer);
    let pauses = 0;
    const result = await permuteBytesInTurns(bytes, 4, shape, [3, 2, 0, 1], async () => void pauses++);
    assert.deepEqual(result, permuteBytes(bytes, 4, shape, [3, 2, 0, 1]));
    assert.ok(pauses >= 4, `${pauses} pauses`);
  });

  it("gives way within a long run along the result's last dimension", async () => {
    const shape = [1, 2 ** 18, 1, 32];
    const bytes = new Uint8Array(Uint32Array.from({ length: 2 ** 23 }, (_, i) => i).buffer);
    let pauses = 0;
    const result = await permuteBytesInTurns(bytes, 4, shape, [3, 2, 0, 1], async () => void pauses++);
    const words = new Uint32Array(result.buffer);
    for (const at of [0, 1, 2047, 2048, 2 ** 18 - 1, 2 ** 18, 2 ** 23 - 1]) {
      assert.equal(words[at], (at % 2 ** 18) * 32 + Math.floor(at / 2 ** 18), `${at}`);
    }
    assert.ok(pauses >= 100, `${pauses} pauses`);
  });
});
