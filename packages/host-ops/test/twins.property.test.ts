import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs, type AttrValue } from "@shardserve/graph";
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { BytesIndex, Int64Index } from "../src/call/key-index.js";
import { newWords, modulo, mul, rotate, set, add } from "../src/call/words.js";
import { compilePattern, parseByteClass } from "../src/strings/string-regex.js";
import { numberToHalf, halfToNumber, bfloatToNumber, numberToBfloat } from "@shardserve/tensor";
import { newState } from "./host-state.js";

function run(op: string, inputs: readonly Tensor[], attrs: Record<string, AttrValue> = {}): Tensor[] {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return hostKernels.get(op)!({ node, inputs, state: newState() }) as Tensor[];
}

const int64s = (values: readonly bigint[]) => tensor("int64", [values.length], BigInt64Array.from(values));
/** Mostly near the bounds where numbers stop to be exact. */
const anyInt64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -100n, max: 100n }),
  fc.bigInt({ min: 2n ** 53n - 10n, max: 2n ** 53n + 10n }),
  fc.bigInt({ min: -(2n ** 53n) - 10n, max: -(2n ** 53n) + 10n }),
);
const wrap = (value: bigint) => BigInt.asIntN(64, value);

describe("int64 on lanes against BigInt", () => {
  const floorDiv = (a: bigint, b: bigint) => (a % b !== 0n && a < 0n !== b < 0n ? a / b - 1n : a / b);
  const twins: Record<string, (a: bigint, b: bigint) => bigint> = {
    AddV2: (a, b) => a + b,
    Sub: (a, b) => a - b,
    Mul: (a, b) => a * b,
    FloorDiv: floorDiv,
    FloorMod: (a, b) => a - b * floorDiv(a, b),
    Maximum: (a, b) => (a > b ? a : b),
    BitwiseAnd: (a, b) => a & b,
    SquaredDifference: (a, b) => wrap(a - b) * wrap(a - b),
  };
  for (const [op, twin] of Object.entries(twins)) {
    it(op, () => {
      fc.assert(
        fc.property(fc.array(fc.tuple(anyInt64, anyInt64), { minLength: 1, maxLength: 20 }), (pairs) => {
          const kept = pairs.filter(([, b]) => b !== 0n);
          const [a, b] = [kept.map(([x]) => x), kept.map(([, y]) => y)];
          const [result] = run(op, [int64s(a), int64s(b)]);
          assert.deepEqual(
            [...(result!.data as BigInt64Array)],
            a.map((x, i) => wrap(twin(x, b[i]!))),
          );
        }),
      );
    });
  }

  it("Sum, Prod, Max and Min", () => {
    fc.assert(
      fc.property(fc.array(anyInt64, { minLength: 1, maxLength: 12 }), (values) => {
        const axis = tensor("int32", [1], Int32Array.of(0));
        const of = (op: string) => (run(op, [int64s(values), axis], { keep_dims: false })[0]!.data as BigInt64Array)[0];
        assert.equal(of("Sum"), wrap(values.reduce((sum, x) => sum + x, 0n)));
        assert.equal(of("Prod"), wrap(values.reduce((product, x) => product * x, 1n)));
        assert.equal(
          of("Max"),
          values.reduce((best, x) => (x > best ? x : best)),
        );
        assert.equal(
          of("Min"),
          values.reduce((best, x) => (x < best ? x : best)),
        );
      }),
    );
  });

  it("Less", () => {
    fc.assert(
      fc.property(anyInt64, anyInt64, (a, b) => {
        const [less] = run("Less", [int64s([a]), int64s([b])]);
        assert.equal((less!.data as Uint8Array)[0], a < b ? 1 : 0);
      }),
    );
  });
});

describe("64-bit words against BigInt", () => {
  const U64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const w = newWords(3);
  const put = (register: number, value: bigint) =>
    set(w, register, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  const get = (register: number) => (BigInt(w[2 * register + 1]! >>> 0) << 32n) | BigInt(w[2 * register]! >>> 0);

  it("add, multiply, rotate, modulo", () => {
    fc.assert(
      fc.property(
        U64,
        U64,
        fc.integer({ min: 1, max: 63 }),
        fc.oneof(...[21, 37, 53].map((bits) => fc.integer({ min: 1, max: 2 ** bits - (bits === 53 ? 1 : 0) }))),
        (a, b, by, divisor) => {
          put(0, a);
          put(1, b);
          add(w, 2, 0, 1);
          assert.equal(get(2), BigInt.asUintN(64, a + b));
          mul(w, 2, 0, 1);
          assert.equal(get(2), BigInt.asUintN(64, a * b));
          rotate(w, 2, 0, by);
          assert.equal(get(2), BigInt.asUintN(64, (a >> BigInt(by)) | (a << BigInt(64 - by))));
          assert.equal(modulo(w, 0, divisor), Number(a % BigInt(divisor)));
          // Quotients that are just below an integer.
          const below = BigInt.asUintN(64, a - (a % BigInt(divisor)) - 1n);
          put(0, below);
          assert.equal(modulo(w, 0, divisor), Number(below % BigInt(divisor)));
        },
      ),
    );
  });
});

describe("key indexes against Map", () => {
  it("int64", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 40 }), { maxLength: 200 }), (keys) => {
        const index = new Int64Index();
        const map = new Map<number, number>();
        for (const key of keys) {
          if (!map.has(key)) map.set(key, map.size);
          assert.equal(index.add(key, key < 0 ? -1 : 0), map.get(key));
        }
        for (let key = -5; key < 45; key++) assert.equal(index.find(key, key < 0 ? -1 : 0), map.get(key) ?? -1);
      }),
    );
  });

  it("strings", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 3, unit: fc.constantFrom("a", "b", "c") }), { maxLength: 200 }),
        (keys) => {
          const index = new BytesIndex();
          const map = new Map<string, number>();
          for (const key of keys) {
            if (!map.has(key)) map.set(key, map.size);
            const bytes = Buffer.from(key);
            assert.equal(index.add(bytes, 0, bytes.length), map.get(key));
          }
          const absent = Buffer.from("zz");
          assert.equal(index.find(absent, 0, 2), -1);
        },
      ),
    );
  });
});

describe("16-bit floats", () => {
  it("every pattern survives a round trip", () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const half = halfToNumber(bits);
      if (!Number.isNaN(half)) assert.equal(numberToHalf(half), bits);
      const bfloat = bfloatToNumber(bits);
      if (!Number.isNaN(bfloat)) assert.equal(numberToBfloat(bfloat), bits);
    }
  });
});

describe("moved elements against index arithmetic", () => {
  it("Transpose", () => {
    const shapeAndOrder = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }).chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, d) => d),
          { minLength: shape.length },
        ),
      ),
    );
    fc.assert(
      fc.property(shapeAndOrder, ([shape, order]) => {
        const count = shape.reduce((product, dim) => product * dim, 1);
        const value = tensor(
          "int32",
          shape,
          Int32Array.from({ length: count }, (_, i) => i),
        );
        const [turned] = run("Transpose", [value, tensor("int32", [order.length], Int32Array.from(order))]);
        const dims = order.map((d) => shape[d]!);
        assert.deepEqual(turned!.shape, dims);
        const expected = Array.from({ length: count }, (_, flat) => {
          let rest = flat;
          const index = shape.map(() => 0);
          for (let d = dims.length - 1; d >= 0; d--) {
            index[order[d]!] = rest % dims[d]!;
            rest = Math.floor(rest / dims[d]!);
          }
          return index.reduce((at, i, d) => at * shape[d]! + i, 0);
        });
        assert.deepEqual([...(turned!.data as Int32Array)], expected);
      }),
    );
  });
});

describe("classes of ASCII characters and their complements", () => {
  it("take what the JavaScript class of the same text takes", () => {
    for (const pattern of [
      "[!-/:-@]",
      "\\s",
      "[a-c_]+",
      "\\.",
      "[\\]\\[^]",
      "x",
      "[\\w-]",
      "[ \\t]+",
      "-",
      "[^a-z0-9 ]",
      "[^^]",
      "\\W",
    ]) {
      const found = parseByteClass(pattern);
      assert(found, pattern);
      // RE2's \s has no vertical tab.
      const twin = new RegExp(`^${pattern.replaceAll("\\s", "[\\t\\n\\f\\r ]")}$`);
      for (let byte = 0; byte < 128; byte++) {
        assert.equal(found.takes[byte] === 1, twin.test(String.fromCharCode(byte)), `${pattern} on ${byte}`);
      }
    }
    for (const pattern of [
      "[^]a]",
      "[^é]",
      "a|b",
      "ab",
      ".",
      "(a)",
      "[[:letter:]]",
      "[[:^alpha:]]",
      "[:alpha:]]",
      "[a-[:alpha:]]",
      "a*",
      "\\b",
      "é",
      "",
      "+",
      "[a",
      "\\pL",
    ]) {
      assert.equal(parseByteClass(pattern), undefined, pattern);
    }
  });

  it("are read by their POSIX names as the engine reads them", () => {
    const names = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit".split(" ");
    for (const name of names) {
      for (const pattern of [`[[:${name}:]]`, `[^[:${name}:]]`, `[_[:${name}:]-z]+`]) {
        const found = parseByteClass(pattern);
        assert(found, pattern);
        const re = compilePattern(pattern);
        for (let byte = 0; byte < 128; byte++) {
          assert.equal(found.takes[byte] === 1, re.testExact(Uint8Array.of(byte)), `${pattern} on ${byte}`);
        }
      }
    }
  });

  it("replace as the engine does", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "!", " ", "é", "."), maxLength: 12 });
    fc.assert(
      fc.property(
        text,
        fc.constantFrom("[a!]", "[a!]+", "\\s+", "\\.", "[^a!]", "[^a!]+", "\\W+"),
        fc.boolean(),
        (value, pattern, isGlobal) => {
          const input = tensor("string", [1], StringColumn.from([value]));
          const of = (spelled: string) =>
            (
              run("StaticRegexReplace", [input], { pattern: spelled, rewrite: "<>", replace_global: isGlobal })[0]!
                .data as StringColumn
            ).textAt(0);
          // A group keeps the fast path away.
          assert.equal(of(pattern), of(`(?:${pattern})`));
        },
      ),
    );
  });
});
