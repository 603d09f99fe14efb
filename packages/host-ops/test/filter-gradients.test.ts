/** Gradients by filters in groups, which TensorFlow has with oneDNN alone (the goldens are of its own kernels), and what no kernel takes. */
import assert from "node:assert/strict";
import { Attrs, type GraphNode } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

const VALID = { strides: [1, 1, 1, 1], dilations: [1, 1, 1, 1], padding: "VALID" };

function nodeOf(op: string, attrs: ConstructorParameters<typeof Attrs>[1]): GraphNode {
  return { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
}

/** Numbers 0 to `period` - 1 again and again. */
function cyclic(shape: readonly number[], period: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return tensor(
    "float32",
    shape,
    Float32Array.from({ length: count }, (_, i) => i % period),
  );
}

/** By a filter [2, 2, channels, filters] of images [2, 3, 3, 4]. */
async function filterGradient(channels: number, filters: number): Promise<readonly number[]> {
  const node = nodeOf("Conv2DBackpropFilter", VALID);
  const inputs = [
    cyclic([2, 3, 3, 4], 7),
    tensor("int32", [4], Int32Array.of(2, 2, channels, filters)),
    cyclic([2, 2, 2, filters], 5),
  ];
  const [gradient] = (await hostKernels.get("Conv2DBackpropFilter")!({ node, inputs, state: newState() })) as Tensor[];
  return [...(gradient!.data as Float32Array)];
}

describe("gradients by filters", () => {
  it("keep the groups of a convolution apart, as TensorFlow with oneDNN does", async () => {
    // tf.raw_ops.Conv2DBackpropFilter of TensorFlow 2.21.
    const expected = [
      69, 45, 36, 37, 58, 60, 42, 39, 39, 42, 32, 52, 42, 36, 31, 47, 42, 36, 31, 47, 52, 37, 37, 49, 54, 40, 55, 48,
      43, 55, 40, 64,
    ];
    assert.deepEqual(await filterGradient(2, 4), expected);
  });

  it("refuse groups that share neither channels nor filters evenly", async () => {
    const code = "INVALID_ARGUMENT";
    await assert.rejects(filterGradient(3, 2), { code, message: /input depth must be evenly divisible.*: 4 vs 3/ });
    await assert.rejects(filterGradient(2, 3), { code, message: /output depth must be evenly divisible.*: 3 vs 2/ });
  });

  it("of channels in front are refused when a model loads, not with every request", () => {
    const supports = (format: string): true | string =>
      hostKernels.supports(nodeOf("Conv2DBackpropFilter", { ...VALID, data_format: format }), {
        inputs: [],
        outputs: [],
      } as never);
    assert.equal(supports("NHWC"), true);
    assert.equal(supports("NCHW"), "Conv2DBackpropFilter of data_format NCHW has no host kernel");
  });
});
