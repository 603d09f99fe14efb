import assert from "node:assert/strict";
import { Attrs } from "@shardserve/graph";
import { StringColumn, strings, type Tensor, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { CharBranches } from "../src/text/char-branches.js";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

const ATOMS = String.raw`\s [!-/] [a-c] [^a] [^\]b] []x] [[:punct:]] \pL \p{P} \PL \x{e9} \x61 [\x{4E00}-\x{9FFF}] \| \- \D \w b é 你 [|] [\\^]`;
const PIECES = [
  "a",
  "b",
  "c",
  " ",
  "  ",
  "\n",
  "x",
  "]",
  "|",
  "!",
  "-",
  "é",
  "你",
  "\u3002",
  "\u{1f600}",
  "\\",
  "^",
  "1",
];

const pattern = fc
  .array(fc.tuple(fc.constantFrom(...ATOMS.split(" ")), fc.boolean()), { minLength: 1, maxLength: 5 })
  .map((branches) => branches.map(([atom, isRun]) => (isRun ? `${atom}+` : atom)).join("|"));
const piece = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...PIECES).map((text) => Buffer.from(text, "utf8")) },
  { weight: 1, arbitrary: fc.constantFrom(0xff, 0xc3, 0xe4, 0x80).map((byte) => Buffer.of(byte)) },
);
const text = fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces));

function split(input: Tensor, delimiter: string, keep: string): unknown {
  const op = "RegexSplitWithOffsets";
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, {}) };
  const inputs = [input, strings([], [delimiter]), strings([], [keep])];
  const [tokens, ...offsets] = hostKernels.get(op)!({ node, inputs, state: newState() }) as readonly Tensor[];
  return [(tokens!.data as StringColumn).toTexts(), ...offsets.map(({ data }) => data)];
}

describe("splitting at alternations of characters", () => {
  it("is what the regular expression finds", () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 3 }), pattern, pattern, (texts, delimiter, keep) => {
        const input = tensor("string", [texts.length], StringColumn.from(texts));
        assert(CharBranches.of(`(${delimiter})`));
        // A second group leaves the walk over characters.
        assert.equal(CharBranches.of(`((${delimiter}))`), undefined);
        assert.deepEqual(split(input, `(${delimiter})`, `(${keep})`), split(input, `((${delimiter}))`, `((${keep}))`));
      }),
      { numRuns: 500 },
    );
  });

  it("is read from nothing else", () => {
    for (const other of [
      "(a|)",
      "(|a)",
      "()",
      "(ab)",
      "(a*)",
      "(a?)",
      "(.)",
      "(^a)",
      "(\\b)",
      "(?i:a)",
      "(a)|(b)",
      "(a{2})",
      "(a||b)",
    ]) {
      assert.equal(CharBranches.of(other), undefined, other);
    }
  });
});
