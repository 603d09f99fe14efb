import assert from "node:assert/strict";
import type { StringColumn } from "@shardserve/tensor";
import { foldCase } from "../src/text/case-folding.js";
import { textScriptOf } from "../src/strings/unicode-script.js";
import { opGoldenTensor, type OpGoldenTensor } from "@shardserve/testkit";
import { readGoldens } from "./golden.js";

/** ICU's USCRIPT_UNKNOWN: of code points that stand for nothing in TensorFlow Text's Unicode. */
const UNKNOWN_SCRIPT = 103;

describe("case folding", () => {
  const { inputs, outputs } = readGoldens("text-normalize").findLast(({ op }) => op === "CaseFoldUTF8")!;
  /** Every character that folds, and what TensorFlow Text makes of it. */
  const [characters, folds] = [linesOf(inputs[0] as OpGoldenTensor), linesOf(outputs![0]!)];

  it("is TensorFlow Text's for every character that folds", () => {
    assert(characters.length > 10_000, `${characters.length} characters`);
    assert.deepEqual(characters.map(foldCase), folds);
  });

  it("leaves every other character as it is, but those that only a newer Unicode has", () => {
    const folding = new Set(characters);
    const wrong: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      const char = String.fromCodePoint(code);
      if (folding.has(char) || foldCase(char) === char || textScriptOf(code) === UNKNOWN_SCRIPT) continue;
      wrong.push(code.toString(16));
    }
    assert.deepEqual(wrong, []);
  });
});

function linesOf(golden: OpGoldenTensor): string[] {
  return (opGoldenTensor(golden).data as StringColumn).textAt(0).split("\n");
}
