import assert from "node:assert/strict";
import { fromBinary, onnx } from "@shardserve/api";
import { Attrs, type AttrValue, type DeviceStep, type GraphNode, infer, type TensorRef } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { lowerSegment } from "../src/segment.js";
import { answer } from "./golden-cases.js";

/** Convolutions of volumes over their planes (src/lower/planes.ts), against sums written out. */

type Five = readonly [number, number, number, number, number];
type Three = readonly [depth: number, height: number, width: number];

const ref = (node: string): TensorRef => ({ node, index: 0 });

function node(name: string, op: string, inputs: readonly string[], attrs: Readonly<Record<string, AttrValue>>) {
  return { name, op, inputs: inputs.map(ref), controls: [], attrs: new Attrs(op, attrs) } satisfies GraphNode;
}

/** Small integers over 8: sums of their products are exact, whatever their order. */
function filled(shape: readonly number[], seed: number): Tensor {
  const length = shape.reduce((product, dim) => product * dim, 1);
  return tensor(
    "float32",
    shape,
    Float32Array.from({ length }, (_, i) => (((i + seed) * 7919) % 17) / 8 - 1),
  );
}

const constant = (name: string, value: Tensor) => node(name, "Const", [], { dtype: "float32", value });
const fed = (name: string, shape: readonly number[]) =>
  node(name, "Placeholder", [], { dtype: "float32", shape, fed: true });

function convolution(name: string, inputs: readonly string[], padding = "SAME", strides = ONES, dilations = ONES) {
  const around = (steps: Three) => [1, ...steps, 1];
  return node(name, "Conv3D", inputs, {
    T: "float32",
    padding,
    strides: around(strides),
    dilations: around(dilations),
    data_format: "NDHWC",
  });
}

const ONES: Three = [1, 1, 1];

function stepOf(nodes: readonly GraphNode[], output: string) {
  const { infos } = infer({
    graph: new Map(nodes.map((item) => [item.name, item])),
    outputs: [ref(output)],
    targets: [],
  });
  const isFed = ({ op }: GraphNode) => op === "Placeholder";
  const step: DeviceStep = {
    kind: "device",
    id: "test",
    nodes: nodes.filter((item) => !isFed(item)),
    inputs: nodes.filter(isFed).map(({ name }) => ref(name)),
    outputs: [ref(output)],
    variables: new Map(),
  };
  return { step, infos };
}

/** Ranks of the kernels of all Convs in the lowered nodes: 4 of images, 5 of volumes. */
function kernelRanks(nodes: readonly GraphNode[], output: string): number[] {
  const { step, infos } = stepOf(nodes, output);
  const bytes = lowerSegment(step, infos).encode(({ source }) => {
    assert.ok(source.kind === "tensor");
    return new Uint8Array((source.tensor.data as Float32Array).buffer);
  });
  const convs = fromBinary(onnx.ModelProtoSchema, bytes).graph!.node.filter(({ opType }) => opType === "Conv");
  return convs.map(({ attribute }) => 2 + attribute.find(({ name }) => name === "kernel_shape")!.ints.length);
}

/** TensorFlow's convolution of volumes with stride 1. */
function expected(x: Tensor, kernel: Tensor, padding: string, dilations: Three): Tensor {
  const [count, ...lengths] = x.shape as unknown as Five;
  const [inputs, outputs] = [kernel.shape[3]!, kernel.shape[4]!];
  const reach = dilations.map((dilation, i) => (kernel.shape[i]! - 1) * dilation);
  const before = reach.map((more) => (padding === "SAME" ? Math.floor(more / 2) : 0));
  const [depth, height, width] = reach.map((more, i) => lengths[i]! - (padding === "SAME" ? 0 : more)) as [
    number,
    number,
    number,
  ];
  const [data, weights] = [x.data as Float32Array, kernel.data as Float32Array];
  const shape = [count, depth, height, width, outputs];
  const result = new Float32Array(shape.reduce((product, dim) => product * dim, 1));
  for (let at = 0; at < result.length; at++) {
    const out = at % outputs;
    const column = Math.floor(at / outputs) % width;
    const row = Math.floor(at / outputs / width) % height;
    const plane = Math.floor(at / outputs / width / height) % depth;
    const volume = Math.floor(at / outputs / width / height / depth);
    for (let place = 0; place < weights.length / inputs / outputs; place++) {
      const k = Math.floor(place / kernel.shape[2]!);
      const from = [
        plane + Math.floor(k / kernel.shape[1]!) * dilations[0] - before[0]!,
        row + (k % kernel.shape[1]!) * dilations[1] - before[1]!,
        column + (place % kernel.shape[2]!) * dilations[2] - before[2]!,
      ];
      if (from.some((i, axis) => i < 0 || i >= lengths[axis]!)) continue;
      const voxel = ((volume * lengths[0]! + from[0]!) * lengths[1]! + from[1]!) * lengths[2]! + from[2]!;
      for (let channel = 0; channel < inputs; channel++) {
        result[at]! += data[voxel * inputs + channel]! * weights[(place * inputs + channel) * outputs + out]!;
      }
    }
  }
  return tensor("float32", shape, result);
}

describe("convolutions of volumes over their planes", () => {
  for (const [what, lengths, kernel, padding, dilations] of [
    ["padding SAME", [4, 3, 5], [3, 3, 3], "SAME", ONES],
    ["padding VALID", [4, 3, 5], [3, 3, 3], "VALID", ONES],
    ["a kernel of even depth, one plane more behind than before", [3, 3, 3], [2, 3, 4], "SAME", ONES],
    ["dilations", [5, 4, 5], [3, 3, 3], "SAME", [2, 1, 2]],
    ["dilations without padding", [5, 5, 6], [2, 3, 3], "VALID", [3, 2, 1]],
    ["a single plane", [1, 3, 3], [3, 3, 3], "SAME", ONES],
    ["a kernel that reaches far beyond the depth", [2, 3, 3], [5, 3, 3], "SAME", [3, 1, 1]],
    ["a kernel of one plane", [3, 3, 3], [1, 3, 3], "SAME", ONES],
    ["a kernel as deep as the volume", [3, 3, 4], [3, 3, 3], "VALID", ONES],
  ] as const) {
    it(`are TensorFlow's with ${what}, of no volume, one and three`, async () => {
      const weights = filled([...kernel, 16, 16], 5);
      const nodes = [
        fed("x", [-1, ...lengths, 16]),
        constant("k", weights),
        convolution("y", ["x", "k"], padding, ONES, dilations),
      ];
      assert.deepEqual(kernelRanks(nodes, "y"), [4]);
      const { step, infos } = stepOf(nodes, "y");
      for (const count of [0, 1, 3]) {
        const x = filled([count, ...lengths, 16], 0);
        const [y] = await answer(step, infos, [x]);
        assert.deepEqual(y, expected(x, weights, padding, dilations));
      }
    });
  }

  it("are TensorFlow's with a kernel that is computed", async () => {
    const [x, k] = [filled([2, 3, 3, 3, 16], 0), filled([2, 3, 3, 16, 16], 3)];
    const nodes = [fed("x", [-1, 3, 3, 3, 16]), fed("k", k.shape), convolution("y", ["x", "k"])];
    assert.deepEqual(kernelRanks(nodes, "y"), [4]);
    const { step, infos } = stepOf(nodes, "y");
    assert.deepEqual(await answer(step, infos, [x, k]), [expected(x, k, "SAME", ONES)]);
  });

  it("are left to the kernel for volumes where that is as fast or takes less memory, and where lengths are not known", () => {
    const ranks = (
      kernel: Five,
      { shape = [-1, 4, 4, 4, kernel[3]], strides = ONES }: { shape?: readonly number[]; strides?: Three } = {},
    ) =>
      kernelRanks(
        [fed("x", shape), constant("k", filled(kernel, 0)), convolution("y", ["x", "k"], "SAME", strides)],
        "y",
      );
    assert.deepEqual(ranks([3, 3, 3, 16, 32]), [4]);
    for (const strides of [
      [2, 1, 1],
      [1, 2, 1],
      [1, 1, 2],
    ] as const) {
      assert.deepEqual(ranks([3, 3, 3, 16, 16], { strides }), [5], `strides ${strides.join()}`);
    }
    assert.deepEqual(ranks([3, 3, 3, 3, 16]), [5], "three channels");
    assert.deepEqual(ranks([3, 3, 3, 16, 3]), [5], "three channels of the result");
    assert.deepEqual(ranks([3, 1, 1, 16, 16]), [5], "one place in a plane");
    assert.deepEqual(ranks([3, 3, 3, 16, 32], { shape: [-1, 4, 4, 4, 32] }), [5], "groups");
    assert.deepEqual(ranks([3, 3, 3, 16, 32], { shape: [-1, 32, 32, 64, 16] }), [5], "copies of planes of 12 MiB");
    assert.deepEqual(ranks([1, 3, 3, 16, 32], { shape: [-1, 32, 32, 64, 16] }), [4], "no copies");
    for (const axis of [1, 2, 3]) {
      const shape = [-1, 4, 4, 4, 16].map((length, i) => (i === axis ? -1 : length));
      assert.deepEqual(ranks([3, 3, 3, 16, 16], { shape }), [5], `unknown length ${axis}`);
      const empty = shape.map((length, i) => (i === axis ? 0 : length));
      assert.deepEqual(ranks([3, 3, 3, 16, 16], { shape: empty }), [5], `no length ${axis}`);
    }
  });
});

describe("planes between convolutions", () => {
  const [first, second] = [filled([3, 3, 3, 16, 16], 1), filled([2, 3, 3, 16, 16], 2)];
  const bias = filled([16], 4);
  const chain = [
    fed("x", [-1, 3, 3, 3, 16]),
    constant("k1", first),
    constant("k2", second),
    constant("bias", bias),
    constant("slope", filled([1, 1, 1, 16], 4)),
    constant("half", tensor("float32", [], Float32Array.of(0.5))),
    convolution("y1", ["x", "k1"]),
    node("biased", "BiasAdd", ["y1", "bias"], { T: "float32" }),
    node("scaled", "Mul", ["half", "biased"], { T: "float32" }),
    node("sloped", "AddV2", ["scaled", "slope"], { T: "float32" }),
    node("relu", "Relu", ["sloped"], { T: "float32" }),
  ];
  const activation = (x: Tensor): Tensor => {
    const y = expected(x, first, "SAME", ONES);
    const data = (y.data as Float32Array).map((value, i) => {
      const own = (bias.data as Float32Array)[i % 16]!;
      return Math.max((value + own) * 0.5 + own, 0);
    });
    return tensor("float32", y.shape, data);
  };

  it("take biases, scales and activations", async () => {
    const { step, infos } = stepOf([...chain, convolution("y2", ["relu", "k2"])], "y2");
    const x = filled([2, 3, 3, 3, 16], 0);
    const [y] = await answer(step, infos, [x]);
    const wanted = expected(activation(x), second, "SAME", ONES).data as Float32Array;
    assert.deepEqual(y!.shape, [2, 3, 3, 3, 16]);
    assert.equal(
      (y!.data as Float32Array).findIndex((value, i) => Math.abs(value - wanted[i]!) > 1e-3),
      -1,
    );
  });

  it("are not those of sums of one volume and several: planes of both would not fit together", async () => {
    const nodes = [
      ...chain,
      fed("one", [-1, 3, 3, 3, 16]),
      convolution("y2", ["one", "k2"]),
      node("sum", "AddV2", ["relu", "y2"], { T: "float32" }),
    ];
    const { step, infos } = stepOf(nodes, "sum");
    const [x, one] = [filled([2, 3, 3, 3, 16], 0), filled([1, 3, 3, 3, 16], 7)];
    const [sum] = await answer(step, infos, [x, one]);
    const [left, right] = [activation(x), expected(one, second, "SAME", ONES)].map((y) => y.data as Float32Array);
    const wanted = left!.map((value, i) => value + right![i % right!.length]!);
    assert.deepEqual(sum!.shape, [2, 3, 3, 3, 16]);
    assert.equal(
      (sum!.data as Float32Array).findIndex((value, i) => Math.abs(value - wanted[i]!) > 1e-4),
      -1,
    );
  });
});
