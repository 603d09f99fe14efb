import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, AttrValueSchema } from "@shardserve/api";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { tensor } from "@shardserve/tensor";

const CHANNELS = 32;
const SHAPE = [-1, 8, 8, CHANNELS];
const T = attr.type("float32");
const STEPS = create(AttrValueSchema, { value: { case: "list", value: { i: [1n, 1n, 1n, 1n] } } });

/** Squeeze and excitation in a residual block: an image times a number for each channel that follows from its mean. */
function residualBlock() {
  const g = new GraphBuilder();
  const x = g.placeholder("x", "float32", SHAPE);
  const kernel = g.constant(
    tensor("float32", [1, 1, CHANNELS, CHANNELS], new Float32Array(CHANNELS ** 2).fill(1 / CHANNELS)),
  );
  const attrs = { T, strides: STEPS, dilations: STEPS, padding: attr.text("VALID"), data_format: attr.text("NHWC") };
  const features = g.node("Conv2D", [x, kernel], { attrs });
  const axes = g.constant(tensor("int32", [2], Int32Array.of(1, 2)));
  const means = g.node("Mean", [features, axes], {
    attrs: { T, Tidx: attr.type("int32"), keep_dims: attr.bool(true) },
  });
  const weighed = g.node("Mul", [features, means], { attrs: { T } });
  const mixed = g.node("Conv2D", [weighed, kernel], { attrs });
  const y = g.node("AddV2", [mixed, features], { attrs: { T } });
  const like = (ref: string) => ({ ref, dtype: "float32", shape: SHAPE }) as const;
  return g.savedModel({ serving_default: predictSignature({ x: like(x) }, { y: like(y) }) });
}

describe("an empty batch", () => {
  it("is answered where ONNX Runtime's rewritten graph refuses it", async () => {
    const dir = mkdtempSync(join(tmpdir(), "empty-batch-"));
    await writeSavedModel(dir, residualBlock());
    const model = await loadModel({ dir, ort: loadOrt() });
    try {
      for (const rows of [0, 1, 0]) {
        const x = tensor("float32", [rows, 8, 8, CHANNELS], new Float32Array(rows * 64 * CHANNELS).fill(3));
        const { outputs } = await model.run("serving_default", new Map([["x", x]]), {});
        const y = outputs.get("y")!;
        assert.deepEqual(y.shape, [rows, 8, 8, CHANNELS]);
        assert((y.data as Float32Array).every((value) => Math.abs(value - 12) < 1e-4));
      }
    } finally {
      await model.close();
      rmSync(dir, { recursive: true });
    }
  });
});
