import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { Attrs, type AttrValue, type HostState, type HostValue } from "@shardserve/graph";
import { scalar, strings, type Tensor, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { hostKernels } from "../src/index.js";
import { opGoldenAttr } from "@shardserve/testkit";
import { readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

const TEXTS = strings([5], ["the quick brown fox", " 你好 CAFÉ½ <sep>", "", "\u2581\u2581", "zzzz <s> 12"]);
const NO = tensor("bool", [], Uint8Array.of(0));

async function run(
  op: string,
  inputs: readonly HostValue[],
  attrs: Record<string, AttrValue>,
  state: HostState,
): Promise<HostValue> {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return (await hostKernels.get(op)!({ node, inputs, state }))[0]!;
}

async function tokenize(model: Uint8Array, nbest = 0): Promise<Tensor> {
  const state = newState();
  const handle = await run("SentencepieceOp", [], { model }, state);
  const inputs = [handle, TEXTS, scalar("int32", nbest), scalar("float32", 1), NO, NO, NO];
  return (await run("SentencepieceTokenizeOp", inputs, { out_type: "int32", Tsplits: "int64" }, state)) as Tensor;
}

describe("SentencePiece", () => {
  const models = readGoldens("text-sentencepieces").map(
    ({ steps }) => opGoldenAttr(steps![0]!.attrs["model"]!) as Uint8Array,
  );
  const damage = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 12,
  });

  it("makes an answer or a clear error of damaged models, and ends", async () => {
    const cut = fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 3 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...models), damage, cut, async (model, flips, end) => {
        const bytes = Uint8Array.from(model.subarray(0, end === null ? model.length : Math.floor(end * model.length)));
        for (const [at, byte] of flips) bytes[Math.floor(at * bytes.length)] = byte;
        try {
          await tokenize(bytes);
        } catch (error) {
          assert(error instanceof ServingError, (error as Error).stack);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("refuses to sample", async () => {
    await assert.rejects(tokenize(models[0]!, -1), { code: "UNIMPLEMENTED", message: /nbest_size must be 0 or 1/ });
  });
});
