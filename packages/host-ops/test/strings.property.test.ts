import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs, type AttrValue } from "@shardserve/graph";
import { type StringColumn, strings, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { SIP_HASH, sipHash, sipKey } from "../src/strings/sip-hash.js";
import { parseFloatText } from "../src/strings/string-numbers.js";
import { newState } from "./host-state.js";

function run(op: string, inputs: readonly Tensor[], attrs: Record<string, AttrValue> = {}): Tensor {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return (hostKernels.get(op)!({ node, inputs, state: newState() }) as Tensor[])[0]!;
}

const int64s = (values: readonly number[]) => tensor("int64", [values.length], BigInt64Array.from(values, BigInt));

/** SipHash-2-4 as its paper has it, by BigInt. */
function sipTwin(text: Uint8Array, key: readonly [bigint, bigint]): bigint {
  const wrap = (value: bigint): bigint => BigInt.asUintN(64, value);
  const rotate = (value: bigint, by: bigint): bigint => wrap((value << by) | (value >> (64n - by)));
  const [k0, k1] = key.map(wrap) as [bigint, bigint];
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const round = () => {
    v0 = wrap(v0 + v1);
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = wrap(v2 + v3);
    v3 = rotate(v3, 16n) ^ v2;
    v0 = wrap(v0 + v3);
    v3 = rotate(v3, 21n) ^ v0;
    v2 = wrap(v2 + v1);
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const padded = new Uint8Array((Math.floor(text.length / 8) + 1) * 8);
  padded.set(text);
  padded[padded.length - 1] = text.length;
  for (const block of new BigUint64Array(padded.buffer)) {
    v3 ^= block;
    round();
    round();
    v0 ^= block;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

describe("strings as their plain forms have them", () => {
  it("SipHash is what 64-bit arithmetic gives, wherever the bytes lie", () => {
    const half = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40, size: "max" }), fc.nat(9), fc.tuple(half, half), (text, at, key) => {
        const buffer = new Uint8Array(at + text.length + 3).fill(0xa5);
        buffer.set(text, at);
        sipHash(buffer, at, at + text.length, sipKey(...key));
        const { words, register } = SIP_HASH;
        const found = (BigInt(words[2 * register + 1]! >>> 0) << 32n) | BigInt(words[2 * register]! >>> 0);
        assert.equal(found, sipTwin(text, key));
      }),
      { numRuns: 1000 },
    );
  });

  it("StringToNumber of plain digits is what a whole parser reads", () => {
    const digits = fc.string({
      unit: fc.constantFrom(...Array.from({ length: 10 }, (_, digit) => String(digit))),
      maxLength: 17,
      size: "max",
    });
    const text = fc
      .tuple(fc.constantFrom("", "-", "+", " "), digits, fc.constantFrom("", "."), digits)
      .map((parts) => parts.join(""))
      .filter((value) => /\d/.test(value));
    fc.assert(
      fc.property(text, (value) => {
        const found = run("StringToNumber", [strings([1], [value])], { out_type: "float64" });
        assert.ok(Object.is((found.data as Float64Array)[0], parseFloatText(value.trim())), value);
      }),
      { numRuns: 2000 },
    );
    for (const [value, wanted] of Object.entries({
      "007": 7n,
      "-12": -12n,
      " 5": 5n,
      "999999999999999": 999999999999999n,
    })) {
      const found = run("StringToNumber", [strings([1], [value])], { out_type: "int64" });
      assert.equal((found.data as BigInt64Array)[0], wanted);
    }
    for (const value of ["1.5", "1.", "-", "", ".", "--1", "1-"]) {
      const parse = () => run("StringToNumber", [strings([1], [value])], { out_type: "int64" });
      assert.throws(parse, /could not correctly convert/, value);
    }
  });

  it("StringJoin joins scalars and vectors, short and long", () => {
    const word = fc.string({ unit: "grapheme", maxLength: 60, size: "max" });
    const column = (rows: number) => fc.array(word, { minLength: rows, maxLength: rows });
    const given = fc
      .nat(5)
      .chain((rows) => fc.tuple(column(rows), column(1), column(rows), fc.constantFrom("", "_X_")));
    fc.assert(
      fc.property(given, ([first, [scalar], last, separator]) => {
        const inputs = [strings([first.length], first), strings([], [scalar!]), strings([last.length], last)];
        const found = run("StringJoin", inputs, { separator: Buffer.from(separator) });
        const wanted = first.map((text, i) => [text, scalar, last[i]].join(separator));
        assert.deepEqual((found.data as StringColumn).toTexts(), wanted);
      }),
    );
  });

  it("a ragged tensor is the same dense one by its row splits and by its row ids", () => {
    const row = fc.array(fc.integer({ min: -9, max: 9 }), { maxLength: 40, size: "max" });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 6 }), fc.integer({ min: -1, max: 40 }), (rows, width) => {
        const values = int64s(rows.flat());
        const shape = int64s([-1, width]);
        const filler = tensor("int64", [], BigInt64Array.of(-1n));
        const splits = int64s([0, ...rows.map((_, i) => rows.slice(0, i + 1).flat().length)]);
        const bySplits = run("RaggedTensorToTensor", [shape, values, filler, splits], {
          row_partition_types: ["ROW_SPLITS"].map((type) => Buffer.from(type)),
        });
        const ids = int64s(rows.flatMap((list, i) => list.map(() => i)));
        const count = tensor("int64", [], BigInt64Array.of(BigInt(rows.length)));
        const byIds = run("RaggedTensorToTensor", [shape, values, filler, count, ids], {
          row_partition_types: ["FIRST_DIM_SIZE", "VALUE_ROWIDS"].map((type) => Buffer.from(type)),
        });
        assert.deepEqual(bySplits, byIds);
      }),
    );
  });
});
