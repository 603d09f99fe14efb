import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AttrValueSchema, create } from "@shardserve/api";
import { seededRandom } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { tensor, toNumbers } from "@shardserve/tensor";

const CHANNELS = 16;
/** Sides of the image, of the kernel, and of what the one makes of the other. */
const [IMAGE, KERNEL, SIDE] = [12, 3, 10];
const STEPS = create(AttrValueSchema, { value: { case: "list", value: { i: [1n, 1n, 1n, 1n] } } });

/** Signs of a normalised convolution of signs, as binarised networks stack them. */
function binarisedLayer(kernel: Float32Array, variance: Float32Array) {
  const g = new GraphBuilder();
  const T = attr.type("float32");
  const x = g.placeholder("x", "float32", [-1, IMAGE, IMAGE, CHANNELS]);
  const layout = { padding: attr.text("VALID"), data_format: attr.text("NHWC") };
  const signs = g.node("Sign", [x], { attrs: { T } });
  const weights = g.constant(tensor("float32", [KERNEL, KERNEL, CHANNELS, CHANNELS], kernel));
  const sums = g.node("Conv2D", [signs, weights], { attrs: { T, strides: STEPS, dilations: STEPS, ...layout } });
  const constant = (data: Float32Array) => g.constant(tensor("float32", [CHANNELS], data));
  const zeros = constant(new Float32Array(CHANNELS));
  const ones = constant(new Float32Array(CHANNELS).fill(1));
  const normalised = g.node("FusedBatchNormV3", [sums, ones, zeros, zeros, constant(variance)], {
    attrs: { T, U: T, is_training: attr.bool(false), data_format: layout.data_format },
  });
  const y = g.node("Sign", [normalised], { attrs: { T } });
  const like = (ref: string, side: number) => ({ ref, dtype: "float32", shape: [-1, side, side, CHANNELS] }) as const;
  return g.savedModel({ serving_default: predictSignature({ x: like(x, IMAGE) }, { y: like(y, SIDE) }) });
}

/** Signs of the sums under a kernel, one by one. */
function signsOfSums(x: Float32Array, kernel: Float32Array): number[] {
  return Array.from({ length: SIDE ** 2 * CHANNELS }, (_, i) => {
    const [pixel, to] = [Math.floor(i / CHANNELS), i % CHANNELS];
    const [row, column] = [Math.floor(pixel / SIDE), pixel % SIDE];
    let sum = 0;
    for (let k = 0; k < KERNEL ** 2 * CHANNELS; k++) {
      const tap = Math.floor(k / CHANNELS);
      const [y, z] = [row + Math.floor(tap / KERNEL), column + (tap % KERNEL)];
      sum += x[(y * IMAGE + z) * CHANNELS + (k % CHANNELS)]! * kernel[k * CHANNELS + to]!;
    }
    return Math.sign(sum);
  });
}

describe("binarised networks", () => {
  it("know sums that are 0, whatever they are scaled by", async () => {
    const random = seededRandom(3);
    const signs = (length: number) => Float32Array.from({ length }, () => (random.next() < 0.5 ? -1 : 1));
    const [kernel, x] = [signs((KERNEL * CHANNELS) ** 2), signs(IMAGE ** 2 * CHANNELS)];
    const variance = Float32Array.from({ length: CHANNELS }, () => 1 + 20 * random.next());
    const expected = signsOfSums(x, kernel);
    assert(expected.includes(0));
    const dir = mkdtempSync(join(tmpdir(), "shardserve-binarised-"));
    try {
      await writeSavedModel(dir, binarisedLayer(kernel, variance));
      const model = await loadModel({ dir, ort: loadOrt() });
      try {
        const inputs = new Map([["x", tensor("float32", [1, IMAGE, IMAGE, CHANNELS], x)]]);
        const { outputs } = await model.run("serving_default", inputs, {});
        assert.deepEqual(
          toNumbers(outputs.get("y")!).map((value) => value + 0),
          expected,
        );
      } finally {
        await model.close();
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
