import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { tensor } from "@shardserve/tensor";

const T = attr.type("float32");
const ONE = new Map([["x", tensor("float32", [1, 3], Float32Array.of(1, 2, 3))]]);

/**
 * Under the one name x + x; under the other x times a product of variables of which the graph says that the second is [4, 3], and the
 * checkpoint [5, 3]: ONNX Runtime refuses such a graph before it is run.
 */
async function contradictoryModel(dir: string, bad: string, good: string): Promise<void> {
  const g = new GraphBuilder();
  const x = g.placeholder("x", "float32", [-1, 3]);
  const left = g.read(g.variable("left", "float32", [3, 4]), "float32");
  const right = g.read(g.variable("right", "float32", [4, 3]), "float32");
  const attrs = { T, transpose_a: attr.bool(false), transpose_b: attr.bool(false) };
  const product = g.node("MatMul", [x, g.node("MatMul", [left, right], { attrs })], { attrs });
  const sum = g.node("AddV2", [x, x], { attrs: { T } });
  const like = (ref: string) => ({ ref, dtype: "float32", shape: [-1, 3] }) as const;
  const model = g.savedModel({
    [bad]: predictSignature({ x: like(x) }, { y: like(product) }),
    [good]: predictSignature({ x: like(x) }, { y: like(sum) }),
  });
  await writeSavedModel(dir, model, {
    variables: async (writer) => {
      await writer.addTensor("left", tensor("float32", [3, 4], new Float32Array(12)));
      await writer.addTensor("right", tensor("float32", [5, 3], new Float32Array(15)));
    },
  });
}

describe("a signature whose graph contradicts the checkpoint", () => {
  let dir: string;
  let before: { values: number; sessions: number };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "contradictory-"));
    before = { ...loadOrt().live };
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
    assert.deepEqual(loadOrt().live, before, "nothing is left behind");
  });

  it("fails its own requests and no others", async () => {
    await contradictoryModel(dir, "other", "serving_default");
    const model = await loadModel({ dir, ort: loadOrt() });
    try {
      const { outputs } = await model.run("serving_default", ONE, {});
      assert.deepEqual([...model.broken!.keys()], ["other"], "it is known before anybody asks");
      assert.match(model.broken!.get("other")!, /^signature "other" cannot be served: /);
      assert.deepEqual([...(outputs.get("y")!.data as Float32Array)], [2, 4, 6]);
      await assert.rejects(model.run("other", ONE, {}), {
        code: "ENGINE_FAILED",
        message: /^signature "other" cannot be served: /,
      });
    } finally {
      await model.close();
    }
  });

  it("fails the load where it is the one that is asked by default", async () => {
    await contradictoryModel(dir, "serving_default", "other");
    await assert.rejects(loadModel({ dir, ort: loadOrt() }), { code: "ENGINE_FAILED" });
  });
});

describe("a signature without outputs", () => {
  it("is refused in TensorFlow's words", async () => {
    const dir = mkdtempSync(join(tmpdir(), "silent-"));
    const g = new GraphBuilder();
    const x = g.placeholder("x", "float32", [-1, 3]);
    const like = { ref: x, dtype: "float32", shape: [-1, 3] } as const;
    const signatures = {
      serving_default: predictSignature({ x: like }, { y: like }),
      silent: predictSignature({}, {}),
    };
    await writeSavedModel(dir, g.savedModel(signatures));
    const model = await loadModel({ dir, ort: loadOrt() });
    try {
      const refusal = { code: "INVALID_ARGUMENT", message: /at least one target/ };
      await assert.rejects(model.run("silent", new Map(), {}), refusal);
    } finally {
      await model.close();
      rmSync(dir, { recursive: true });
    }
  });
});
