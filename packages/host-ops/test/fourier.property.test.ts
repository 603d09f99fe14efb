import assert from "node:assert/strict";
import fc from "fast-check";
import { lineOf, realTransformOf, transformOf } from "../src/signal/fourier.js";

/** By the definition. */
function spectrum(real: readonly number[], imaginary: readonly number[], sign: -1 | 1): [number, number][] {
  const length = real.length;
  return real.map((_, k) => {
    let [x, y] = [0, 0];
    for (let i = 0; i < length; i++) {
      const angle = (sign * 2 * Math.PI * ((i * k) % length)) / length;
      x += real[i]! * Math.cos(angle) - imaginary[i]! * Math.sin(angle);
      y += real[i]! * Math.sin(angle) + imaginary[i]! * Math.cos(angle);
    }
    return [x, y];
  });
}

const part = fc.double({ min: -1, max: 1, noNaN: true });
/** Of powers of two, of small primes and of large ones. */
const length = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(80, 96, 125, 128, 194, 240, 256, 343, 390));

describe("Fourier transforms of any length", () => {
  it("are what the definition says, both ways", () => {
    const input = length.chain((count) =>
      fc.tuple(
        fc.array(part, { minLength: count, maxLength: count }),
        fc.array(part, { minLength: count, maxLength: count }),
        fc.constantFrom(-1 as const, 1 as const),
      ),
    );
    fc.assert(
      fc.property(input, ([real, imaginary, sign]) => {
        const line = lineOf(real.length);
        const transform = transformOf(real.length, sign);
        for (let turn = 0; turn < 2; turn++) {
          line.real.set(real);
          line.imaginary.set(imaginary);
          transform(line);
        }
        for (const [k, [x, y]] of spectrum(real, imaginary, sign).entries()) {
          assert.ok(Math.abs(line.real[k]! - x) < 1e-10 && Math.abs(line.imaginary[k]! - y) < 1e-10, `bin ${k}`);
        }
      }),
    );
  });

  it("of real numbers give the first half, wherever the lines stand", () => {
    const input = length.chain((count) => fc.array(part, { minLength: 2 * count, maxLength: 2 * count }));
    fc.assert(
      fc.property(input, (values) => {
        const count = values.length / 2;
        const bins = Math.floor(count / 2) + 1;
        const out = new Float64Array(4 * bins);
        const transform = realTransformOf(count);
        transform(Float64Array.from(values), 0, out, 0);
        transform(Float64Array.from(values), count, out, 2 * bins);
        for (const [row, line] of [values.slice(0, count), values.slice(count)].entries()) {
          const expected = spectrum(
            line,
            line.map(() => 0),
            -1,
          );
          for (let k = 0; k < bins; k++) {
            const [x, y] = expected[k]!;
            const at = 2 * (row * bins + k);
            assert.ok(Math.abs(out[at]! - x) < 1e-10 && Math.abs(out[at + 1]! - y) < 1e-10, `bin ${k}`);
          }
        }
      }),
    );
  });
});
