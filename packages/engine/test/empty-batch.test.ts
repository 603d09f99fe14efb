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

/** Products of x [n, 2, 3] with constants that have one matrix for all of n: [signature, shape of the constant, constant first]. */
const ONE_FOR_ALL = [
  ["a matrix by x", [4, 2], true],
  ["a batch of one by x", [1, 4, 2], true],
  ["x by a matrix", [3, 4], false],
  ["x by a batch of one", [1, 3, 4], false],
  ["x by batches of batches", [5, 1, 3, 4], false],
] as const;

function products(adjoint: boolean) {
  const g = new GraphBuilder();
  const x = g.placeholder("x", "float32", [-1, 2, 3]);
  const signatures = ONE_FOR_ALL.map(([name, given, isFirst]) => {
    const lengths: readonly number[] = given;
    const shape = adjoint ? [...lengths.slice(0, -2), ...lengths.slice(-2).reverse()] : lengths;
    const count = shape.reduce((all, length) => all * length, 1);
    const one = g.constant(tensor("float32", shape, new Float32Array(count).fill(0.5)));
    const attrs = { T, adj_x: attr.bool(adjoint && isFirst), adj_y: attr.bool(adjoint && !isFirst) };
    const y = g.node("BatchMatMulV2", isFirst ? [one, x] : [x, one], { attrs });
    const open = (ref: string, rank: number) =>
      ({ ref, dtype: "float32", shape: Array.from({ length: rank }, () => -1) }) as const;
    return [name, predictSignature({ x: open(x, 3) }, { y: open(y, Math.max(3, given.length)) })] as const;
  });
  return g.savedModel(Object.fromEntries(signatures));
}

describe("an empty batch", () => {
  for (const adjoint of [false, true]) {
    it(`is multiplied by what is one for all rows${adjoint ? ", transposed" : ""}`, async () => {
      const dir = mkdtempSync(join(tmpdir(), "empty-batch-"));
      await writeSavedModel(dir, products(adjoint));
      const model = await loadModel({ dir, ort: loadOrt() });
      try {
        for (const rows of [0, 1, 3]) {
          const x = tensor("float32", [rows, 2, 3], new Float32Array(rows * 6).fill(2));
          for (const [name, shape, isFirst] of ONE_FOR_ALL) {
            const y = (await model.run(name, new Map([["x", x]]), {})).outputs.get("y")!;
            const last = isFirst ? [4, 3] : [2, 4];
            assert.deepEqual(y.shape, [...(shape.length > 3 ? [shape[0]] : []), rows, ...last], name);
            assert(
              (y.data as Float32Array).every((value) => value === (isFirst ? 2 : 3)),
              name,
            );
          }
        }
      } finally {
        await model.close();
        rmSync(dir, { recursive: true });
      }
    });
  }

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
