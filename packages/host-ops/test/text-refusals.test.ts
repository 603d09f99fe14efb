import assert from "node:assert/strict";
import { Attrs, type AttrValue, type HostValue } from "@shardserve/graph";
import { StringColumn, strings, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

function run(
  op: string,
  inputs: readonly HostValue[],
  attrs: Record<string, AttrValue> = {},
  state = newState(),
): readonly HostValue[] {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return hostKernels.get(op)!({ node, inputs, state }) as readonly HostValue[];
}

const ints = (...values: number[]) => tensor("int32", [values.length], Int32Array.from(values));
const split = (text: Tensor, pattern: string) =>
  run("RegexSplitWithOffsets", [text, strings([], [pattern]), strings([], [""])]);

/** Where TensorFlow Text would never end, end the process, or read what is not its own. */
describe("text ops refuse", () => {
  it("a delimiter that may be empty", () => {
    for (const pattern of ["(x*)", "()", "($)"]) {
      assert.throws(() => split(strings([1], ["ab"]), pattern), { code: "INVALID_ARGUMENT", message: /never end/ });
    }
  });

  it("a delimiter whose group takes no part", () => {
    assert.throws(() => split(strings([1], ["ab"]), "(x)|b"), { code: "INVALID_ARGUMENT", message: /first group/ });
  });

  it("anchors on malformed bytes alone", () => {
    const malformed = tensor("string", [1], StringColumn.from([Uint8Array.of(0xff, 0x61)]));
    assert.throws(() => split(malformed, "(^.)"), { code: "UNIMPLEMENTED", message: /malformed UTF-8/ });
    assert.deepEqual((split(malformed, "(\\ba)")[0] as Tensor).shape, [1]);
  });

  it("rows of offsets that do not fit the strings, and parts without bounds", () => {
    const op = "TFText>ByteSplitByOffsets";
    const [texts, one] = [strings([2], ["hello", "there"]), ints(1)];
    for (const splits of [ints(), ints(0), ints(0, 1), ints(0, 1, 2), ints(1, 0, 1), ints(0, 1, 1, 1)]) {
      assert.throws(() => run(op, [texts, one, one, splits]), { code: "INVALID_ARGUMENT" });
    }
    assert.throws(() => run(op, [texts, one, ints(), ints(0, 1, 1)]), { code: "INVALID_ARGUMENT" });
    const [count, size] = [2000, 1_000_000];
    const all = (value: number) => tensor("int32", [count], new Int32Array(count).fill(value));
    const long = strings([1], ["x".repeat(size)]);
    assert.throws(() => run(op, [long, all(0), all(size), ints(0, count)]), { code: "RESOURCE_EXHAUSTED" });
  });

  it("rows that leave the code points", () => {
    for (const splits of [ints(), ints(0, 3), ints(2, 1), ints(-1, 1)]) {
      for (const op of ["WhitespaceTokenizeWithOffsets", "UnicodeScriptTokenizeWithOffsets"]) {
        const attrs = { Tsplits: "int32" as const, keep_whitespace: false };
        assert.throws(() => run(op, [ints(97, 98), splits], attrs), {
          code: "INVALID_ARGUMENT",
          message: /input_splits/,
        });
      }
    }
  });

  it("vocabularies that are no table from strings to numbers", () => {
    const attrs = {
      suffix_indicator: Buffer.from("##"),
      max_bytes_per_word: 100n,
      use_unknown_token: true,
      unknown_token: Buffer.from("[UNK]"),
    };
    for (const [key, value] of [
      ["string", "float32"],
      ["int64", "int64"],
    ] as const) {
      const state = newState();
      const [table] = run("MutableHashTableV2", [], { key_dtype: key, value_dtype: value }, state);
      const call = () => run("WordpieceTokenizeWithOffsets", [strings([1], ["a"]), table!], attrs, state);
      assert.throws(call, { code: "INVALID_ARGUMENT", message: /must be type/ });
    }
  });

  it("more combining marks in a row than any text has, which would take the square of their time", () => {
    const marks = (text: string, count: number) => strings([1], [`a${text.repeat(count)}`]);
    const normalize = (text: Tensor) => run("NormalizeUTF8", [text], { normalization_form: Buffer.from("NFKC") });
    const isRefused = { code: "INVALID_ARGUMENT", message: /combining marks/ };
    for (const hostile of ["\u0301\u0323", "\uff9e\u0301"]) {
      assert.throws(() => normalize(marks(hostile, 500_000)), isRefused);
      assert.throws(() => run("CaseFoldUTF8", [marks(hostile, 500_000)]), isRefused);
    }
    // Folding brings the marks together that an invisible character kept apart.
    assert.throws(() => run("CaseFoldUTF8", [marks("\u0301\u00ad\u0323", 500_000)]), isRefused);
    assert.deepEqual((normalize(marks("\u0301\u0323", 400))[0] as Tensor).shape, [1]);
    // Not refused, and not slow: marks that are many, but not in a row.
    normalize(marks(`a${"\u0301".repeat(900)}`, 500));
  });

  it("a matrix of strings where a vector is tokenized", () => {
    const input = strings([1, 1], ["a"]);
    const op = "TFText>WhitespaceTokenizeWithOffsetsV2";
    assert.throws(() => run(op, [input, strings([], [""])]), { code: "INVALID_ARGUMENT", message: /vector/ });
  });
});
