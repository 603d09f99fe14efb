import assert from "node:assert/strict";
import { permuteBytes } from "@shardserve/onnx";
import fc from "fast-check";

/** Slow twin: one element at a time through its index. */
function permuted(values: Int16Array, shape: number[], permutation: number[]): Int16Array {
  const lengths = permutation.map((axis) => shape[axis]!);
  return Int16Array.from(values, (_, to) => {
    const index = shape.map(() => 0);
    let rest = to;
    for (let axis = lengths.length - 1; axis >= 0; axis--) {
      index[permutation[axis]!] = rest % lengths[axis]!;
      rest = Math.floor(rest / lengths[axis]!);
    }
    return values[index.reduce((flat, at, axis) => flat * shape[axis]! + at, 0)]!;
  });
}

describe("permuteBytes", () => {
  it("transposes like its slow twin", () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
    const cases = shapes.chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, axis) => axis),
          { minLength: shape.length },
        ),
      ),
    );
    fc.assert(
      fc.property(cases, ([shape, permutation]) => {
        const count = shape.reduce((product, length) => product * length, 1);
        const values = Int16Array.from({ length: count }, (_, i) => i * 257);
        const actual = permuteBytes(new Uint8Array(values.buffer), 2, shape, permutation);
        assert.deepEqual(new Int16Array(actual.buffer), permuted(values, shape, permutation));
      }),
    );
  });
});
