import assert from "node:assert/strict";
import { Attrs, type AttrValue, type DeviceStep, type GraphNode, infer, type TensorRef } from "@shardserve/graph";
import { tensor } from "@shardserve/tensor";
import { answer } from "./golden-cases.js";

const ref = (node: string): TensorRef => ({ node, index: 0 });

function node(name: string, op: string, inputs: readonly string[], attrs: Record<string, AttrValue>): GraphNode {
  return { name, op, inputs: inputs.map(ref), controls: [], attrs: new Attrs(op, attrs) };
}

const SIDE = 4;
const ZEROS = 1;

/** A convolution, which leaves the image as it is, zeros around it, and maxima of 3 by 3 elements: a ResNet V2's first layers. */
async function pooled(image: Float32Array, strides: number, padding: Record<string, AttrValue>) {
  const value = tensor("int32", [4, 2], Int32Array.of(0, 0, ZEROS, ZEROS, ZEROS, ZEROS, 0, 0));
  const kernel = tensor("float32", [1, 1, 1, 1], Float32Array.of(1));
  const nodes = [
    node("kernel", "Const", [], { dtype: "float32", value: kernel }),
    node("conv", "Conv2D", ["x", "kernel"], { T: "float32", strides: [1, 1, 1, 1], padding: "VALID" }),
    node("paddings", "Const", [], { dtype: "int32", value }),
    node("padded", "Pad", ["conv", "paddings"], { T: "float32", Tpaddings: "int32" }),
    node("pool", "MaxPool", ["padded"], {
      T: "float32",
      ksize: [1, 3, 3, 1],
      strides: [1, strides, strides, 1],
      ...padding,
    }),
  ];
  const x = node("x", "Placeholder", [], { dtype: "float32", shape: [-1, SIDE, SIDE, 1], fed: true });
  const graph = new Map([x, ...nodes].map((item) => [item.name, item]));
  const { infos } = infer({ graph, outputs: [ref("pool")], targets: [] });
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes,
    inputs: [ref("x")],
    outputs: [ref("pool")],
    variables: new Map(),
  };
  const [result] = await answer(step, infos, [tensor("float32", [1, SIDE, SIDE, 1], image)]);
  return result!;
}

/** The maxima, where `before` elements of padding that are no values stand around the zeros. */
function maxima(image: Float32Array, strides: number, before: number, count: number): number[] {
  const length = SIDE + 2 * ZEROS;
  const at = (y: number, x: number): number => {
    if (Math.min(y, x) < 0 || Math.max(y, x) >= length) return Number.NEGATIVE_INFINITY;
    const isZero = Math.min(y, x) < ZEROS || Math.max(y, x) >= length - ZEROS;
    return isZero ? 0 : image[(y - ZEROS) * SIDE + x - ZEROS]!;
  };
  const steps = [0, 1, 2];
  return Array.from({ length: count * count }, (_, i) => {
    const [top, left] = [Math.floor(i / count) * strides - before, (i % count) * strides - before];
    return Math.max(...steps.flatMap((y) => steps.map((x) => at(top + y, left + x))));
  });
}

describe("maxima of an image with zeros around it", () => {
  const image = Float32Array.from({ length: SIDE * SIDE }, (_, i) => -1 - ((i * 7) % 16));

  for (const [name, strides, padding, before, count] of [
    ["no padding", 2, { padding: "VALID" }, 0, 2],
    ["padding SAME", 1, { padding: "SAME" }, 1, 6],
    ["padding SAME and strides beyond the window", 4, { padding: "SAME" }, 0, 2],
    ["padding in numbers", 2, { padding: "EXPLICIT", explicit_paddings: [0, 0, 1, 1, 1, 1, 0, 0] }, 1, 3],
  ] as const) {
    it(`count the zeros as values, with ${name} of the pooling's own`, async () => {
      const result = await pooled(image, strides, padding);
      assert.deepEqual(result.shape, [1, count, count, 1]);
      assert.deepEqual([...(result.data as Float32Array)], maxima(image, strides, before, count));
    });
  }
});
