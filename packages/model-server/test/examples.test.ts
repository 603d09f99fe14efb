import assert from "node:assert/strict";
import { create, ExampleSchema, fromBinary, InputSchema, toBinary } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { Tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { readExampleBody } from "../src/json/example-body.js";
import { indexJson } from "../src/json/document.js";
import { rootObject } from "../src/json/predict-body.js";
import { encodeExamples, exampleTensor } from "../src/predict/example-input.js";
import { exampleInput } from "./harness.js";
import { drain } from "./json-check.js";

/** An account that takes no more than this. */
function account(bytesMax: number) {
  let held = 0;
  const hold = (bytes: number) => {
    held += bytes;
    if (held > bytesMax) throw new ServingError("RESOURCE_EXHAUSTED", "too much");
  };
  return { hold, held: () => held };
}

const FREE = () => undefined;
const textsOf = ({ data }: Tensor<"string">) => data.toTexts();
const fromWire = (hex: string) => textsOf(drain(exampleTensor(Buffer.from(hex, "hex"), FREE)));
const fromJson = (body: string | Buffer, hold: (bytes: number) => void = FREE) => {
  const document = drain(indexJson(Buffer.from(body), hold));
  return drain(readExampleBody(document, rootObject(document)));
};

function pausesOf(slices: Generator<undefined, unknown>): number {
  for (let pauses = 0; ; pauses++) if (slices.next().done) return pauses;
}

describe("examples of gRPC", () => {
  it("are read as protobuf reads them: any order, lists of one kind together, the last kind alone", () => {
    const texts = ["a", "", "bc"];
    const examples = texts.map((text) => Buffer.from(text));
    assert.deepEqual(textsOf(drain(exampleTensor(exampleInput(examples), FREE))), texts);
    const withContext = exampleInput(examples, Buffer.from("X"));
    assert.deepEqual(textsOf(drain(exampleTensor(withContext, FREE))), ["Xa", "X", "Xbc"]);
    const list = (field: string, content: string) =>
      field + Buffer.from([content.length / 2]).toString("hex") + content;
    const [a, b, context] = [list("0a", "61"), list("0a", "62"), list("12", "58")];
    assert.deepEqual(fromWire(list("0a", a) + list("0a", b)), ["a", "b"]);
    assert.deepEqual(fromWire(list("0a", a) + list("12", context + b)), ["Xb"]);
    assert.deepEqual(fromWire(list("12", context + b) + list("0a", a)), ["a"]);
    assert.deepEqual(fromWire(`1805${list("0a", `1805${a}`)}`), ["a"]); // fields of a later release
    for (const hex of ["", "0a00", "1200"]) assert.throws(() => fromWire(hex), /^ServingError: Input is empty\.$/);
    for (const hex of ["0a05", "0a020a05", "0aff"]) assert.throws(() => fromWire(hex), /no valid Input: /);
  });

  it("are written as protobuf writes them", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 200 }), (examples) => {
        const { data } = drain(exampleTensor(exampleInput(examples), FREE));
        assert.deepEqual(Buffer.from(encodeExamples(data)), Buffer.from(exampleInput(examples)));
        const { kind } = fromBinary(InputSchema, encodeExamples(data));
        assert.deepEqual(
          kind.value?.examples.map((each) => Buffer.from(each)),
          examples.map((each) => Buffer.from(each)),
        );
      }),
      { numRuns: 50 },
    );
  });

  it("are bounded where a context stands before each, and count what two bytes become", () => {
    const empty = Array.from({ length: 1000 }, () => new Uint8Array());
    const context = Buffer.alloc(2 ** 20);
    const small = account(2 ** 20);
    assert.throws(() => drain(exampleTensor(exampleInput(empty, context), small.hold)), /too much/);
    const enough = account(1001 * 2 ** 20);
    assert.equal(drain(exampleTensor(exampleInput(empty.slice(0, 10), context), enough.hold)).shape[0], 10);
    assert.ok(enough.held() > 10 * 2 ** 20);
  });

  it("are read in slices: two million in four megabytes were three seconds of everybody's time", function () {
    this.timeout(20_000);
    const list = Buffer.alloc(4 * 2 ** 20);
    for (let i = 0; i < list.length; i += 2) list[i] = 0x0a;
    const input = Buffer.concat([Buffer.from([0x0a, 0x80, 0x80, 0x80, 0x02]), list]);
    const { hold, held } = account(2 ** 30);
    assert.equal(pausesOf(exampleTensor(input, hold)), 16);
    assert.equal(held(), 2 ** 21 * 4);
  });
});

describe("examples of JSON", () => {
  it("are the tf.Examples that protobuf writes", () => {
    const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    const float = fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0));
    const feature = fc.oneof(
      fc.array(int64, { minLength: 1 }).map((value) => ({
        text: JSON.stringify(value.map(String)).replaceAll('"', ""),
        kind: { case: "int64List" as const, value: { value } },
      })),
      fc.array(float, { minLength: 1 }).map((value) => ({
        text: `[${value.map((each) => each.toExponential()).join(",")}]`,
        kind: { case: "floatList" as const, value: { value } },
      })),
      fc.array(fc.string(), { minLength: 1 }).map((value) => ({
        text: JSON.stringify(value),
        kind: { case: "bytesList" as const, value: { value: value.map((each) => Buffer.from(each)) } },
      })),
      fc.constant({ text: "[]", kind: { case: undefined } }),
    );
    const example = fc.dictionary(
      fc.string().filter((name) => name !== "__proto__"),
      feature,
      { maxKeys: 5 },
    );
    fc.assert(
      fc.property(fc.array(example, { minLength: 1, maxLength: 5 }), (examples) => {
        const texts = examples.map((each) => {
          const members = Object.entries(each).map(([name, { text }]) => `${JSON.stringify(name)}: ${text}`);
          return `{${members.join(", ")}}`;
        });
        const { data } = fromJson(`{"examples": [${texts.join(", ")}]}`);
        for (const [i, each] of examples.entries()) {
          const features = Object.entries(each).map(([name, { kind }]) => [name, { kind }] as const);
          const expected = create(ExampleSchema, { features: { feature: Object.fromEntries(features) } });
          const found = fromBinary(ExampleSchema, data.at(i));
          assert.deepEqual(toBinary(ExampleSchema, found), toBinary(ExampleSchema, expected));
        }
      }),
      { numRuns: 200 },
    );
  });

  it("put the context before each, and are bounded", () => {
    const body = (context: number, count: number) =>
      `{"context": {"c": "${"x".repeat(context)}"}, "examples": [${Array.from({ length: count }, () => "{}").join(",")}]}`;
    const { data } = fromJson(body(3, 2));
    for (const i of [0, 1]) {
      const found = fromBinary(ExampleSchema, data.at(i)).features!.feature["c"]!.kind;
      assert.deepEqual(found.case === "bytesList" && Buffer.from(found.value.value[0]!).toString(), "xxx");
    }
    assert.throws(() => fromJson(body(2 ** 20, 1000), account(64 * 2 ** 20).hold), /too much/);
  });

  it("are read in slices, whatever features and examples hold, and take a few times their bytes", function () {
    this.timeout(30_000);
    const values = ["1,", "-1,", '"",', "1.5,"].map((unit) => [unit, '[{"x": [', "]}]"] as const);
    const members = ['"k":[],', '"k":1,'].map((unit) => [unit, "[{", "}]"] as const);
    const examples = ["{},", '{"a":[]},'].map((unit) => [unit, "[", "]"] as const);
    for (const [unit, opening, closing] of [...values, ...members, ...examples]) {
      const count = Math.ceil((4 * 2 ** 20) / unit.length);
      const bytes = Buffer.from(`{"examples": ${opening}${unit.repeat(count).slice(0, -1)}${closing}}`);
      const { hold, held } = account(2 ** 30);
      const document = drain(indexJson(bytes, hold));
      const ofIndex = held();
      assert.ok(pausesOf(readExampleBody(document, rootObject(document))) >= 15, unit);
      if (opening === "[") assert.ok(held() - ofIndex >= 4 * count, `${unit} where each begins is not counted`);
      assert.ok(held() < 16 * bytes.length, `${unit} ${held() / bytes.length} bytes for each`);
    }
  });
});

describe("an index of JSON", () => {
  it("counts what it takes for brackets: at most six times their bytes, and none for a text of numbers", () => {
    const size = 2 ** 20;
    const ratioOf = (text: string) => {
      const { hold, held } = account(2 ** 30);
      const bytes = Buffer.from(text);
      drain(indexJson(bytes, hold));
      return held() / bytes.length;
    };
    assert.equal(ratioOf(`[${"1.5,".repeat(size / 4)}1]`), 0);
    const flat = ratioOf(`[${"[],".repeat(size / 3)}[]]`);
    const deep = `${"[".repeat(500)}${"]".repeat(500)}`;
    const nested = ratioOf(`[${`${deep},`.repeat(size / 1001)}${deep}]`);
    assert.ok(flat > 3 && flat <= 6.1, `${flat}`);
    assert.ok(nested > 5 && nested <= 6.1, `${nested}`);
    const { hold } = account(2 ** 20);
    assert.throws(() => drain(indexJson(Buffer.from(`[${"[],".repeat(size)}[]]`), hold)), /too much/);
  });
});
