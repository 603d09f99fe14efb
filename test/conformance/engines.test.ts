import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { type EngineModel, loadModel, type LoadModelOptions } from "@shardserve/engine";
import { loadOrt, loadTensorFlow, type TensorFlow } from "@shardserve/native";
import type { RowSource } from "@shardserve/rowstore";
import { isNumeric, type NumericData, type Tensor } from "@shardserve/tensor";
import {
  type Golden,
  goldenDifference,
  NO_TENSORFLOW,
  readGolden,
  sharedDir,
  tensorFlowDir,
} from "@shardserve/testkit";
import { differences, type ModelCase, ownModels, sharedModels } from "./replay.js";

/**
 * The engine `tensorflow` against TensorFlow's recorded answers, whole and in segments, and the two engines against each
 * other on inputs that no golden has.
 */

/** A model with a row source runs in segments, even when no table of it is sharded. */
const noTables: RowSource = {
  tables: [],
  lookup: () => Promise.reject(new Error("no table is sharded")),
  close: () => Promise.resolve(),
};

/** No op of TensorFlow: neither engine can load it. */
const CUSTOM_OPS = new Set(["edge-custom-op-zeroout"]);
/** Rows without tokens are 0 / 0 somewhere inside: the engines may differ in which sign or which NaN. */
const UNSTABLE = new Set(["rec-context-aware-bucketize-text"]);

/** The inputs of a case with rows in reverse and floats halved: a request that TensorFlow was never asked. */
function disturbed(inputs: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map(
    [...inputs].map(([alias, value]) => {
      if (!isNumeric(value.dtype) || value.shape.length === 0 || value.shape[0] === 0) return [alias, value];
      const data = (value.data as NumericData).slice();
      const rowLength = data.length / value.shape[0]!;
      for (let row = 0; row < value.shape[0]!; row++) {
        const from = (value.shape[0]! - 1 - row) * rowLength;
        data.set((value.data as Float32Array).subarray(from, from + rowLength) as never, row * rowLength);
      }
      if (data instanceof Float32Array || data instanceof Float64Array) data.forEach((x, i) => (data[i] = x / 2));
      return [alias, { ...value, data } as Tensor];
    }),
  );
}

async function answer(model: EngineModel, signature: string, inputs: ReadonlyMap<string, Tensor>) {
  try {
    return (await model.run(signature, inputs, {})).outputs;
  } catch (error) {
    if (error instanceof ServingError) return error;
    throw error;
  }
}

/** Where two models answer a request differently. */
async function disagreements(a: EngineModel, b: EngineModel, golden: Golden): Promise<string[]> {
  const wrong: string[] = [];
  for (const { signature, inputs, examples } of golden.cases) {
    if (examples) continue;
    const request = disturbed(new Map([...(a.signatures.get(signature)?.defaults ?? []), ...inputs]));
    const [left, right] = [await answer(a, signature, request), await answer(b, signature, request)];
    if (left instanceof ServingError || right instanceof ServingError) {
      if (!(left instanceof ServingError && right instanceof ServingError)) {
        wrong.push(
          `${signature}: ${left instanceof ServingError ? left.message : "answered"} and ${
            right instanceof ServingError ? right.message : "answered"
          }`,
        );
      }
      continue;
    }
    for (const [alias, value] of right) {
      const difference = goldenDifference(left.get(alias), value);
      if (difference !== undefined) wrong.push(`${signature}: ${alias} ${difference}`);
    }
  }
  return wrong;
}

describe("engine tensorflow", function () {
  this.timeout(60_000);
  const shared = sharedDir();
  const models = [...ownModels(), ...(shared === undefined ? [] : sharedModels(shared))];
  let tensorFlow: TensorFlow;

  before(async function () {
    const directory = tensorFlowDir();
    if (directory === undefined) {
      console.log(NO_TENSORFLOW);
      this.skip();
    }
    tensorFlow = await loadTensorFlow({ directory, device: "cpu", intraOpThreads: 2, interOpThreads: 2 });
  });

  const load = (item: ModelCase, golden: Golden, options: Partial<LoadModelOptions>) =>
    loadModel({ dir: item.dir, tags: golden.tags, ort: loadOrt(), tensorFlow, ...options });

  for (const item of models) {
    const golden = readGolden(item.golden);
    if (CUSTOM_OPS.has(item.name)) {
      it(`${item.name} is refused by either engine, naming the op`, async () => {
        for (const engine of ["tensorflow", "onnxruntime", "auto"] as const) {
          await assert.rejects(load(item, golden, { engine }), /OP_UNSUPPORTED|ZeroOut/);
        }
      });
      continue;
    }

    it(`${item.name} answers as TensorFlow did, whole and in segments`, async () => {
      assert.deepEqual(await differences(golden, () => load(item, golden, { engine: "tensorflow" })), [], "whole");
      const segments = () => load(item, golden, { engine: "tensorflow", rowSource: noTables });
      assert.deepEqual(await differences(golden, segments), [], "segments");
      assert.deepEqual(tensorFlow.live, { tensors: 0, sessions: 0 }, "a closed model leaves nothing behind");
    });

    if (golden.isStateful || UNSTABLE.has(item.name)) continue;
    it(`${item.name} is the same on both engines for other inputs`, async () => {
      const a = await load(item, golden, { engine: "onnxruntime" });
      const b = await load(item, golden, { engine: "tensorflow" });
      try {
        assert.deepEqual(await disagreements(a, b, golden), []);
      } finally {
        await a.close();
        await b.close();
      }
    });
  }

  it("auto takes ONNX Runtime where TensorFlow has no GPU, and says why", async () => {
    const [item] = ownModels();
    const model = await load(item!, readGolden(item!.golden), {});
    assert.equal(model.engine.name, "onnxruntime");
    assert.equal(model.engine.why, "TensorFlow has no GPU");
    await model.close();
  });
});
