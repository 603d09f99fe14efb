import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { Attrs } from "@shardserve/graph";
import { strings, type Tensor, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { hostKernels } from "../src/index.js";
import { opGoldenTensor, type OpGoldenTensor } from "@shardserve/testkit";
import { readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

const TEXTS = strings([4], ["unaffable they're", "你好 the.zz", "##", "abcdabcdab"]);

function run(op: string, inputs: readonly Tensor[]): void {
  const attrs = new Attrs(op, { get_offsets: true });
  const node = { name: "node", op, inputs: [], controls: [], attrs };
  void hostKernels.get(op)!({ node, inputs, state: newState() });
}

/** Models of tokenizers come with a graph, and a graph may be anybody's. */
describe("damaged models of the fast BERT tokenizer", () => {
  const models = [...readGoldens("text-fast-wordpieces"), ...readGoldens("text-fast-bert").slice(1)]
    .filter(({ op }) => !op.includes("Detokenize"))
    .map(({ inputs }) => opGoldenTensor(inputs[1] as OpGoldenTensor).data as Uint8Array);

  const damage = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 30,
  });

  it("give an answer or a clear error, and end", () => {
    const ids = tensor("int32", [3], Int32Array.of(0, 2, 1));
    const splits = tensor("int64", [2], BigInt64Array.of(0n, 3n));
    fc.assert(
      fc.property(
        fc.constantFrom(...models),
        damage,
        fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
        (model, flips, cut) => {
          const bytes = model.slice(0, cut === null ? model.length : Math.floor(cut * model.length));
          // Half of the damage is near the front, where the tables are.
          for (const [i, [at, byte]] of flips.entries())
            bytes[Math.floor(at * (i % 2 === 0 ? bytes.length : 400))] = byte;
          const damaged = tensor("uint8", [bytes.length], bytes);
          const calls = [
            () => run("FastWordpieceTokenizeWithOffsets", [TEXTS, damaged]),
            () => run("FastBertNormalize", [TEXTS, damaged]),
            () => run("TFText>FastWordpieceDetokenize", [ids, splits, damaged]),
          ];
          for (const call of calls) {
            try {
              call();
            } catch (error) {
              assert(error instanceof ServingError, (error as Error).stack);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("are told from sound ones", () => {
    const nothing = tensor("uint8", [0], new Uint8Array(0));
    assert.throws(() => run("FastWordpieceTokenizeWithOffsets", [TEXTS, nothing]), {
      code: "INVALID_ARGUMENT",
      message: /FastWordpieceTokenizerConfig is damaged/,
    });
    assert.throws(() => run("FastBertNormalize", [TEXTS, nothing]), {
      code: "INVALID_ARGUMENT",
      message: /is damaged/,
    });
  });
});
