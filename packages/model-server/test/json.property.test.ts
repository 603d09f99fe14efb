import assert from "node:assert/strict";
import { tensor } from "@shardserve/tensor";
import fc from "fast-check";
import {
  formatFloat32,
  formatFloat64,
  NUMBER_BYTES_MAX,
  writeFloat32,
  writeInteger,
} from "../src/json/format-number.js";
import { findMembers } from "../src/json/cursor.js";
import { indexJson } from "../src/json/document.js";
import { NumberReader } from "../src/json/number.js";
import { openBody, readPredictBody, rootObject } from "../src/json/predict-body.js";
import { columnsToJson, rowsToJson } from "../src/json/predict-response.js";
import { readInferBody } from "../src/v2/json-request.js";
import { checkBody, drain } from "./json-check.js";
import { member, numberOf, parseTree, tensorOf } from "./json-twin.js";

const number = fc.oneof(
  fc.double().map((value) => (Number.isNaN(value) ? "NaN" : String(value))),
  fc.float({ noNaN: true }).map(String),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
  fc.integer({ min: -1000, max: 1000 }).map(String),
  fc.constantFrom(
    "-0",
    "0.0",
    "1e5",
    "-1E-5",
    "1e400",
    "Inf",
    "-Infinity",
    "NaN",
    "01",
    "1.",
    ".5",
    "1e",
    "-",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
  ),
  fc
    .tuple(
      fc.stringMatching(/^[1-9][0-9]{0,24}$/),
      fc.stringMatching(/^[0-9]{1,24}$/),
      fc.integer({ min: -30, max: 30 }),
    )
    .map(([a, b, e]) => `${a}.${b}e${e}`),
);
const text = fc.oneof(
  fc.string({ unit: "binary" }).map((value) => JSON.stringify(value)),
  fc.constantFrom('"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\/"', '"\\x"', '"a\nb"', '"\\u12"', '""'),
);
const base64 = fc.oneof(
  fc.uint8Array().map((bytes) => `{"b64": "${Buffer.from(bytes).toString("base64")}"}`),
  fc.constantFrom(
    '{"b64": "AA"}',
    '{"b64": "A"}',
    '{"b64": "A==="}',
    '{"b64": "A A="}',
    '{"b64": 1}',
    '{"b64": "AA==", "c": 1}',
    "{}",
  ),
);
const scalar = fc.oneof({ weight: 6, arbitrary: number }, text, base64, fc.constantFrom("true", "false", "null"));
const nested = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 4 }).map((items) => `[${items.join(" , ")}]`),
  ),
})).value;
/** Lists of one shape, now and then with one element that breaks it. */
const regular = fc
  .tuple(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }), fc.infiniteStream(number), fc.option(nested))
  .map(([shape, stream, odd]) => {
    let broken = odd;
    const build = (dim: number): string => {
      if (dim === shape.length) {
        if (broken !== null && stream.next().value!.length % 7 === 0) {
          const element = broken;
          broken = null;
          return element;
        }
        return stream.next().value!;
      }
      return `[${Array.from({ length: shape[dim]! }, () => build(dim + 1)).join(",")}]`;
    };
    return build(0);
  });
const body = fc.oneof(
  fc
    .tuple(fc.constantFrom("instances", "inputs"), fc.oneof(nested, regular))
    .map(([key, value]) => `{"${key}": ${value}}`),
  regular.map((value) => `{"other": [{}], "inputs": {"y": [1], "x": ${value}}, "inputs": 1}`),
  nested,
);

describe("JSON bodies", () => {
  it("read as the slow twin reads them", () => {
    fc.assert(
      fc.property(body, fc.constantFrom("float32", "int64", "string"), (source, dtype) =>
        checkBody(Buffer.from(source), dtype),
      ),
      { numRuns: 2000 },
    );
  });

  it("numbers read as the runtime reads them", () => {
    const reader = new NumberReader();
    fc.assert(
      fc.property(number, (source) => {
        if (!/^-?(NaN|Inf(inity)?|(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/.test(source)) return;
        const bytes = Buffer.from(`${source},`);
        assert.ok(Object.is(reader.readDouble(bytes, 0, false), numberOf(source)), source);
        assert.equal(reader.end, source.length);
        assert.ok(Object.is(Math.fround(reader.readDouble(bytes, 0, true)), Math.fround(numberOf(source))), source);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("large bodies", () => {
  const pauses = <T>(work: Generator<undefined, T>): [number, T] => {
    for (let count = 0; ; count++) {
      const slice = work.next();
      if (slice.done) return [count, slice.value];
    }
  };
  const signatureOf = (names: readonly string[], dtype: "float32" | "string" = "float32") => ({
    name: "s",
    method: "",
    inputs: new Map(names.map((name) => [name, { dtype, shape: undefined, name, tensorName: name }])),
    outputs: new Map(),
    defaults: new Map(),
  });

  it("are read and written with pauses, whatever their shape", () => {
    const count = 500_000;
    const flat = Array.from({ length: count }, (_, i) => `${i % 10}.5`);
    const chunk = (items: string[], size: number) =>
      Array.from({ length: items.length / size }, (_, i) => `[${items.slice(i * size, (i + 1) * size).join(",")}]`);
    const bodies: [string, string, string[]][] = [
      ["scalars", `{"instances":[${flat.join(",")}]}`, ["x"]],
      ["rows", `{"instances":[${chunk(flat, 50).join(",")}]}`, ["x"]],
      ["one instance", `{"instances":[[${chunk(flat, 50).join(",")}]]}`, ["x"]],
      ["columns", `{"inputs":[${chunk(flat, 5).join(",")}]}`, ["x"]],
      ["named", `{"instances":[${flat.map((item) => `{"x":${item},"z":[${item}]}`).join(",")}]}`, ["x", "z"]],
    ];
    for (const [what, text, names] of bodies) {
      const bytes = Buffer.from(text);
      const [indexing, document] = pauses(indexJson(bytes, () => undefined));
      assert.ok(indexing >= Math.floor(bytes.length / 2 ** 19), `${what}: ${indexing} pauses while indexing`);
      const [reading, { inputs }] = pauses(readPredictBody(document, rootObject(document), signatureOf(names)));
      assert.ok(reading >= 5, `${what}: ${reading} pauses while reading`);
      assert.equal(inputs.get("x")!.data.length, count);
    }
    const data = new Float32Array(count).fill(1.5);
    for (const shape of [[count], [count, 1], [count / 1000, 1000], [10, count / 10], [1, count], [1, 2, count / 2]]) {
      const outputs = new Map([["y", tensor("float32", shape, data)]]);
      const [writing] = pauses(rowsToJson(outputs));
      const [columns] = pauses(columnsToJson(outputs));
      assert.ok(Math.min(writing, columns) >= 9, `[${shape.join(",")}]: ${writing} and ${columns} pauses`);
    }
  });

  it("are searched with pauses for members that are not there", () => {
    const members = '"k":[],'.repeat(200_000).slice(0, -1);
    const text = (key: string) => Buffer.from(`{${key === "" ? members : `"${key}":{${members}}`}}`);
    const [opening, body] = pauses(openBody(text(""), () => undefined));
    const [indexing] = pauses(indexJson(text(""), () => undefined));
    assert.equal(opening - indexing, 17);
    for (const [key, missing, count] of [
      ["", /Missing 'inputs'/, 29],
      ["inputs", /Missing named input: x/, 18],
    ] as const) {
      const { document, root } = key === "" ? body : drain(openBody(text(key), () => undefined));
      const reading = readPredictBody(document, root, signatureOf(["x"]));
      for (let i = 0; i < count; i++) assert.equal(reading.next().done, false, `${i} pauses`);
      assert.throws(() => reading.next(), missing);
    }
  });

  it("are searched with pauses where the members that nobody asks for are long", () => {
    const value = "x".repeat(8000);
    const members = Array.from({ length: 1000 }, (_, i) => (i % 2 === 0 ? `"k":"${value}"` : `"${value}":0`));
    const document = drain(indexJson(Buffer.from(`{${members.join(",")}}`), () => undefined));
    const [searching, found] = pauses(findMembers(document, rootObject(document), ["a", "b"]));
    assert.deepEqual([searching, found], [30, [undefined, undefined]]);
  });

  it("are searched with pauses for many keys", () => {
    const keys = Array.from({ length: 2000 }, (_, i) => `k${i}`);
    const members = keys.map((key) => `"${key}":0`);
    const document = drain(indexJson(Buffer.from(`{${members.join(",")}}`), () => undefined));
    const [searching, found] = pauses(findMembers(document, rootObject(document), keys));
    assert.ok(searching >= 100, `${searching} pauses`);
    assert.ok(found.every((each) => each));
  });

  it("are searched without reading a long key again for each name that it may spell", function () {
    this.timeout(5000); // some milliseconds; to read it for each name took 12 s
    const keys = Array.from({ length: 2000 }, (_, i) => `é${i}`);
    const long = `"\\u00e9${"x".repeat(2 ** 21)}"`;
    const document = drain(indexJson(Buffer.from(`{${long}:0,"\\u00e97":1}`), () => undefined));
    const found = drain(findMembers(document, rootObject(document), keys));
    assert.deepEqual(
      found.flatMap((each, i) => (each ? [i] : [])),
      [7],
    );
  });

  it("of the Open Inference Protocol are read with pauses, whatever stands around the data", () => {
    const input = (name: number, more = "", parameters = "") =>
      `{${more}"name":"i${name}","datatype":"FP32","shape":[1],"parameters":{${parameters}},"data":[1]}`;
    const output = (name: number, more: string) => `{${more}"name":"o${name}"}`;
    const foreign = '"k":[],'.repeat(1000);
    const long = `"k":"${"x".repeat(8000)}"`;
    const many = (count: number, each: (i: number) => string) =>
      Array.from({ length: count }, (_, i) => each(i)).join(",");
    const strings = many(500, () => long);
    const bodies: [string, string, number][] = [
      ["foreign members of inputs", `{"inputs":[${many(500, (i) => input(i, foreign))}]}`, 150],
      ["foreign members of outputs", `{"inputs":[],"outputs":[${many(500, (i) => output(i, foreign))}]}`, 70],
      ["long members of the body", `{${strings},"inputs":[${input(0)}]}`, 15],
      ["long members of inputs", `{"inputs":[${many(500, (i) => input(i, `${long},`))}]}`, 30],
      ["long parameters", `{"inputs":[${input(0, "", strings)}]}`, 15],
      ["a long shape", `{"inputs":[{"name":"x","datatype":"FP32","shape":[${many(500, () => long.slice(4))}]}]}`, 15],
      ["inputs", `{"inputs":[${many(9000, (i) => input(i))}]}`, 9],
    ];
    for (const [what, text, expected] of bodies) {
      const bytes = Buffer.from(text);
      const [indexing] = pauses(indexJson(bytes, () => undefined));
      const reading = readInferBody(bytes, undefined, () => undefined);
      let count = -indexing;
      try {
        while (!reading.next().done) count++;
      } catch (error) {
        assert.match(String(error), /input x: the shape \[NaN/);
      }
      assert.ok(count >= expected, `${what}: ${count} pauses`);
    }
  });

  it("are read with pauses where lists are empty, and where few strings are long", () => {
    const size = 4 * 2 ** 20;
    const units = ["[],", "[[],[]],", `"${"x".repeat(10_000)}",`, `["${"x".repeat(10_000)}"],`];
    for (const unit of units) {
      const list = `[${unit.repeat(size / unit.length).slice(0, -1)}]`;
      for (const text of [`{"inputs":${list}}`, `{"instances":${list}}`, `{"instances":[${list}]}`]) {
        const document = drain(indexJson(Buffer.from(text), () => undefined));
        const [reading] = pauses(readPredictBody(document, rootObject(document), signatureOf(["x"], "string")));
        assert.ok(reading >= 14, `${text.slice(0, 30)}: ${reading} pauses`);
      }
    }
  });
});

describe("JSON numbers out", () => {
  it("read back as the same value in at most 9 or 17 digits", () => {
    const digits = (printed: string) => printed.replace(/e.*/, "").replaceAll(/\D/g, "").replace(/^0+/, "").length;
    fc.assert(
      fc.property(fc.float(), (value) => {
        const printed = formatFloat32(value);
        assert.ok(Object.is(Math.fround(numberOf(printed)), value), `${value} ${printed}`);
        assert.ok(!Number.isFinite(value) || digits(printed) <= 9 + 1, printed);
        assert.match(printed, /[.eN]|Infinity/);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.double(), (value) => {
        const printed = formatFloat64(value);
        assert.ok(Object.is(numberOf(printed), value), `${value} ${printed}`);
        assert.ok(!Number.isFinite(value) || digits(printed) <= 17 + 1, printed);
      }),
      { numRuns: 3000 },
    );
  });

  it("are written without strings as they are formatted with them", () => {
    const bytes = new Uint8Array(NUMBER_BYTES_MAX + 1);
    let direct = 0;
    const check = (value: number) => {
      const end = writeFloat32(bytes, 1, value);
      if (end < 0) return;
      direct++;
      assert.equal(Buffer.from(bytes.subarray(1, end)).toString(), formatFloat32(value));
    };
    const usual = fc.double({ min: 1e-4, max: 1e6, noNaN: true }).map(Math.fround);
    const decimal = fc.tuple(fc.integer({ min: -999_999, max: 999_999 }), fc.integer({ min: -6, max: 2 }));
    fc.assert(fc.property(fc.float(), check), { numRuns: 5000 });
    fc.assert(
      fc.property(usual, (value) => (check(value), check(-value))),
      { numRuns: 20_000 },
    );
    fc.assert(
      fc.property(decimal, ([digits, exponent]) => check(Math.fround(digits * 10 ** exponent))),
      { numRuns: 20_000 },
    );
    assert.ok(direct > 30_000);
    for (const value of [0, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e6, 9.99e-5])
      assert.equal(writeFloat32(bytes, 1, value), -1);

    const integers = fc.oneof(
      fc.maxSafeInteger(),
      fc.integer(),
      fc.integer({ min: -10, max: 10 }),
      fc.constantFrom(1e9, 1e9 - 1, 1e18 / 1e3, -1e15),
    );
    fc.assert(
      fc.property(integers, (value) => {
        assert.equal(Buffer.from(bytes.subarray(1, writeInteger(bytes, 1, value))).toString(), String(value));
      }),
      { numRuns: 5000 },
    );
  });

  it("use six digits where these suffice, in C's %g", () => {
    for (const [value, printed] of [
      [1, "1.0"],
      [-2.5, "-2.5"],
      [9000000, "9e+06"],
      [999999, "999999.0"],
      [1000000, "1e+06"],
      [0.00003, "3e-05"],
      [0.0001, "0.0001"],
      [0.2, "0.2"],
      [1 / 3, "0.333333343"],
      [16777216, "16777216.0"],
      [1.5e-7, "1.5e-07"],
      [3.4028234663852886e38, "3.40282347e+38"],
    ] as const) {
      assert.equal(formatFloat32(Math.fround(value)), printed);
    }
    assert.equal(formatFloat64(0.1), "0.1");
    assert.equal(formatFloat64(1 / 3), "0.33333333333333331");
  });

  it("answers parse back to the tensor that they came from", () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(shapes, fc.infiniteStream(fc.float()), (shape, stream) => {
        const count = shape.reduce((a, b) => a * b, 1);
        const value = tensor(
          "float32",
          shape,
          Float32Array.from({ length: count }, () => stream.next().value!),
        );
        const outputs = new Map([["x", value]]);
        const columns = parseTree(drain(columnsToJson(outputs)))!;
        const expected = tensorOf(member(columns, "outputs")!, "float32");
        assert.notEqual(expected, "error");
        assert.deepEqual((expected as { values: unknown[] }).values, Array.from(value.data));
        const rows = member(parseTree(drain(rowsToJson(outputs)))!, "predictions")!;
        assert.deepEqual((tensorOf(rows, "float32") as { values: unknown[] }).values, Array.from(value.data));
      }),
    );
  });

  it("finds a member by its key, however the text spells it", () => {
    const key = fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 6 }),
      fc.constantFrom('a":', 'a"', "a", "a\\", "b64", "é"),
    );
    const escaped = (name: string) =>
      `"${Array.from({ length: name.length }, (_, i) => `\\u${name.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`;
    const member = fc.record({ name: key, isEscaped: fc.boolean() });
    fc.assert(
      fc.property(fc.array(member, { maxLength: 6 }), key, (members, wanted) => {
        const written = members.map(
          ({ name, isEscaped }, i) => `${isEscaped ? escaped(name) : JSON.stringify(name)}:"${i}"`,
        );
        const document = drain(indexJson(Buffer.from(`{${written.join(",")}}`), () => undefined));
        const [found] = drain(findMembers(document, rootObject(document), [wanted]));
        const index = found ? Number(document.bytes.toString("latin1", found.offset + 1, found.offset + 2)) : -1;
        assert.equal(
          index,
          members.findIndex(({ name }) => name === wanted),
        );
      }),
    );
  });
});
