import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeRows, halfFromFloat, halfTable, rowDecoder, storedRowBytes, StoredRows } from "../src/index.js";
import { NUMERIC, randomRows, tableOf } from "./fixtures.js";

const anyFloat = fc.float({ noNaN: true, noDefaultInfinity: true });
const rowsOf = (element: fc.Arbitrary<number>) =>
  fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 20 }))
    .chain(([dim, rowCount]) =>
      fc.tuple(
        fc.constant(dim),
        fc.constant(rowCount),
        fc.array(element, { minLength: dim * rowCount, maxLength: dim * rowCount }),
      ),
    );

/** Slots in reverse, to see that they are obeyed. */
const reversed = (rowCount: number) => Int32Array.from({ length: rowCount + 1 }, (_, i) => rowCount - i);

function roundTrip(rowDtype: "float16" | "int8", dim: number, rowCount: number, values: Float32Array): Float32Array {
  const table = tableOf("t", rowCount, [dim], "float32", rowDtype);
  const stored = new Uint8Array(8 + rowCount * table.rowBytes);
  encodeRows(rowDtype, values, rowCount, dim, stored.subarray(8));
  const slab = new Float32Array(rowCount * dim);
  rowDecoder(table)(new StoredRows(stored), 8, rowCount, slab, reversed(rowCount), 1);
  const rows = new Float32Array(rowCount * dim);
  for (let row = 0; row < rowCount; row++) {
    rows.set(slab.subarray((rowCount - 1 - row) * dim, (rowCount - row) * dim), row * dim);
  }
  return rows;
}

describe("row codec", () => {
  it("reads every half as its definition says, and writes it back", () => {
    const table = halfTable();
    for (let half = 0; half < 65_536; half++) {
      const sign = half & 0x8000 ? -1 : 1;
      const exponent = (half >> 10) & 31;
      const mantissa = half & 0x3ff;
      const value =
        exponent === 31
          ? mantissa === 0
            ? sign * Number.POSITIVE_INFINITY
            : Number.NaN
          : exponent === 0
            ? sign * mantissa * 2 ** -24
            : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
      assert.ok(Object.is(table[half], value), `${half}`);
      if (Number.isNaN(value)) assert.ok(Number.isNaN(table[halfFromFloat(value)]));
      else assert.equal(halfFromFloat(value), half);
    }
  });

  it("rounds to the nearest half, ties to even", () => {
    const table = halfTable();
    const inRange = fc.oneof(
      anyFloat,
      fc.float({ min: -70_000, max: 70_000, noNaN: true }),
      fc.float({ min: 0, max: Math.fround(1e-4), noNaN: true }),
    );
    fc.assert(
      fc.property(inRange, (value) => {
        const half = halfFromFloat(value);
        const got = table[half]!;
        if (Math.abs(value) >= 65_520) return assert.equal(got, Math.sign(value) * Number.POSITIVE_INFINITY);
        for (const near of [half - 1, half + 1]) {
          if ((near & 0x7fff) > 0x7c00 || near < 0 || (near & 0x8000) !== (half & 0x8000)) continue;
          const other = (near & 0x7fff) === 0x7c00 ? Math.sign(value) * 65_536 : table[near]!;
          const [mine, theirs] = [Math.abs(got - value), Math.abs(other - value)];
          assert.ok(mine < theirs || (mine === theirs && half % 2 === 0), `${value} -> ${got}, not ${other}`);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps float16 rows to half precision, in the slots asked for", () => {
    fc.assert(
      fc.property(rowsOf(fc.float({ min: -1000, max: 1000, noNaN: true })), ([dim, rowCount, list]) => {
        const values = Float32Array.from(list);
        const back = roundTrip("float16", dim, rowCount, values);
        const table = halfTable();
        for (let i = 0; i < values.length; i++) assert.equal(back[i], table[halfFromFloat(values[i]!)]);
      }),
    );
  });

  it("keeps int8 rows to half a step of their range", () => {
    fc.assert(
      fc.property(rowsOf(fc.float({ min: -1000, max: 1000, noNaN: true })), ([dim, rowCount, list]) => {
        const values = Float32Array.from(list);
        const back = roundTrip("int8", dim, rowCount, values);
        for (let row = 0; row < rowCount; row++) {
          const of = Array.from(values.subarray(row * dim, (row + 1) * dim));
          const [least, greatest] = [Math.min(...of), Math.max(...of)];
          const bound = ((greatest - least) / 255) * 0.5 + 1e-5 * Math.max(1e-35, Math.abs(least), Math.abs(greatest));
          for (let i = 0; i < dim; i++) assert.ok(Math.abs(back[row * dim + i]! - of[i]!) <= bound);
          if (least === greatest)
            assert.deepEqual(
              [...back.subarray(row * dim, (row + 1) * dim)],
              of.map((v) => v + 0),
            );
        }
      }),
    );
  });

  it("shows rows that int8 cannot hold as NaN", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      assert.ok(roundTrip("int8", 3, 1, new Float32Array([1, bad, 2])).every(Number.isNaN));
    }
  });

  it("copies rows of any element type bit for bit, NaN patterns too, alone and in runs", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...NUMERIC),
        fc.integer({ min: 1, max: 70 }),
        fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 30 }),
        fc.boolean(),
        fc.integer(),
        (dtype, dim, picks, isRun, seed) => {
          const slots = Int32Array.from(isRun ? picks.map((_, i) => i) : [...new Set(picks)]);
          const table = tableOf("t", slots.length, [dim], dtype);
          const stored = randomRows(table, seed);
          const slab = new Uint8Array(31 * table.rowBytes);
          const expected = new Uint8Array(slab.length);
          for (const [row, slot] of slots.entries()) {
            expected.set(stored.subarray(row * table.rowBytes, (row + 1) * table.rowBytes), slot * table.rowBytes);
          }
          rowDecoder(table)(new StoredRows(stored), 0, slots.length, slab, slots, 0);
          assert.ok(Buffer.compare(slab, expected) === 0);
        },
      ),
    );
  });

  it("states the width of a stored row", () => {
    assert.equal(storedRowBytes("same", "float32", 64), 256);
    assert.equal(storedRowBytes("same", "int64", 3), 24);
    assert.equal(storedRowBytes("float16", "float32", 33), 66);
    assert.equal(storedRowBytes("int8", "float32", 64), 72);
    assert.equal(storedRowBytes("int8", "float32", 61), 72);
  });
});
