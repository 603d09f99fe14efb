import assert from "node:assert/strict";
import { fromBinary, onnx } from "@shardserve/api";
import { Attrs, type AttrValue, type DeviceStep, type GraphNode, infer, type TensorRef } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { lowerSegment } from "../src/segment.js";

const ref = (node: string): TensorRef => ({ node, index: 0 });

function node(
  name: string,
  op: string,
  inputs: readonly string[],
  attrs: Readonly<Record<string, AttrValue>>,
): GraphNode {
  return { name, op, inputs: inputs.map(ref), controls: [], attrs: new Attrs(op, attrs) };
}

function constant(name: string, shape: readonly number[]): GraphNode {
  const length = shape.reduce((product, dim) => product * dim, 1);
  const value: Tensor = tensor("float32", shape, new Float32Array(length).fill(0.5));
  return node(name, "Const", [], { dtype: "float32", value });
}

const T = { T: "float32" };
const CONV = { ...T, strides: [1, 1, 1, 1], padding: "SAME" };
const POOL = { ...T, ksize: [1, 2, 2, 1], strides: [1, 2, 2, 1], padding: "VALID" };
const X = node("x", "Placeholder", [], { dtype: "float32", shape: [-1, 8, 8, 3], fed: true });
const K1 = constant("k1", [3, 3, 3, 8]);
const K2 = constant("k2", [3, 3, 8, 8]);
const BIAS = constant("bias", [8]);

/** How often each ONNX op stands in the lowered nodes. */
function ops(nodes: readonly GraphNode[], ...outputs: string[]): Record<string, number> {
  const graph = new Map([X, ...nodes].map((item) => [item.name, item]));
  const { infos } = infer({ graph, outputs: outputs.map(ref), targets: [] });
  const step: DeviceStep = {
    kind: "device",
    id: "test",
    nodes,
    inputs: [ref("x")],
    outputs: outputs.map(ref),
    variables: new Map(),
  };
  const bytes = lowerSegment(step, infos).encode(({ source }) => {
    assert.ok(source.kind === "tensor");
    return new Uint8Array((source.tensor.data as Float32Array).buffer);
  });
  const counts: Record<string, number> = {};
  for (const { opType } of fromBinary(onnx.ModelProtoSchema, bytes).graph!.node) {
    counts[opType] = (counts[opType] ?? 0) + 1;
  }
  return counts;
}

describe("channels", () => {
  it("are moved once at each end of a chain of layers", () => {
    const chain = [
      K1,
      K2,
      BIAS,
      node("conv1", "Conv2D", ["x", "k1"], CONV),
      node("bias1", "BiasAdd", ["conv1", "bias"], T),
      node("relu1", "Relu", ["bias1"], T),
      node("pool1", "MaxPool", ["relu1"], POOL),
      node("conv2", "Conv2D", ["pool1", "k2"], CONV),
      node("residual", "AddV2", ["conv2", "pool1"], T),
      node("relu2", "Relu", ["residual"], T),
    ];
    const { Transpose, Conv, MaxPool, Relu } = ops(chain, "relu2");
    // In, out, and none for the kernels, which are moved at load.
    assert.deepEqual({ Transpose, Conv, MaxPool, Relu }, { Transpose: 2, Conv: 2, MaxPool: 1, Relu: 2 });
  });

  it("stand last for ops that look at dimensions, and for outputs", () => {
    const axes = node("axes", "Const", [], { dtype: "int32", value: tensor("int32", [2], Int32Array.of(1, 2)) });
    const nodes = [
      K1,
      axes,
      node("conv1", "Conv2D", ["x", "k1"], CONV),
      node("mean", "Mean", ["conv1", "axes"], { ...T, Tidx: "int32" }),
    ];
    assert.equal(ops(nodes, "mean", "conv1")["Transpose"], 2);
  });

  it("leave no form behind that nobody reads", () => {
    const nodes = [K1, K2, node("conv1", "Conv2D", ["x", "k1"], CONV), node("conv2", "Conv2D", ["conv1", "k2"], CONV)];
    assert.equal(ops(nodes, "conv2")["Transpose"], 2);
  });

  it("stay second between convolutions in one dimension, through their paddings and axes of length 1", () => {
    const ints = (name: string, shape: readonly number[], ...values: number[]) =>
      node(name, "Const", [], { dtype: "int32", value: tensor("int32", shape, Int32Array.from(values)) });
    const VALID = { ...CONV, padding: "VALID" };
    const SQUEEZE = { ...T, squeeze_dims: [-3] };
    const nodes = [
      constant("k1", [1, 3, 3, 8]),
      constant("k2", [1, 3, 8, 8]),
      BIAS,
      ints("axis", [], -3),
      ints("paddings", [3, 2], 0, 0, 2, 0, 0, 0),
      node("conv1", "Conv2D", ["x", "k1"], VALID),
      node("bias1", "BiasAdd", ["conv1", "bias"], T),
      node("line", "MaxPool", ["bias1"], { ...POOL, ksize: [1, 8, 1, 1], strides: [1, 1, 1, 1] }),
      node("squeeze1", "Squeeze", ["line"], SQUEEZE),
      node("relu1", "Relu", ["squeeze1"], T),
      node("padded", "Pad", ["relu1", "paddings"], { ...T, Tpaddings: "int32" }),
      node("expanded", "ExpandDims", ["padded", "axis"], { ...T, Tdim: "int32" }),
      node("conv2", "Conv2D", ["expanded", "k2"], VALID),
      node("squeeze2", "Squeeze", ["conv2"], SQUEEZE),
      node("bias2", "BiasAdd", ["squeeze2", "bias"], T),
      node("sum", "AddV2", ["bias2", "relu1"], T),
    ];
    const { Transpose, Conv, Pad } = ops(nodes, "sum");
    assert.deepEqual({ Transpose, Conv, Pad }, { Transpose: 2, Conv: 2, Pad: 1 });
  });

  it("stand in images of one row from one layer in one dimension to the next, which leave their axes of length 1 out", () => {
    const axis = (name: string, value: number) =>
      node(name, "Const", [], { dtype: "int32", value: tensor("int32", [], Int32Array.of(value)) });
    const squeezed = (name: string, from: string, dim: number) =>
      node(name, "Squeeze", [from], { ...T, squeeze_dims: [dim] });
    const expanded = (name: string, from: string, at: string) =>
      node(name, "ExpandDims", [from, at], { ...T, Tdim: "int32" });
    const nodes = [
      constant("k1", [1, 3, 3, 8]),
      constant("k2", [1, 3, 8, 8]),
      BIAS,
      axis("high", -3),
      axis("wide", 2),
      node("row", "MaxPool", ["x"], { ...POOL, ksize: [1, 8, 1, 1], strides: [1, 8, 1, 1] }),
      node("conv1", "Conv2D", ["row", "k1"], CONV),
      squeezed("line1", "conv1", -3),
      node("bias1", "BiasAdd", ["line1", "bias"], T),
      node("relu1", "Relu", ["bias1"], T),
      expanded("column", "relu1", "wide"),
      node("pool", "MaxPool", ["column"], { ...POOL, ksize: [1, 2, 1, 1], strides: [1, 2, 1, 1], padding: "SAME" }),
      squeezed("line2", "pool", 2),
      expanded("row2", "line2", "high"),
      node("conv2", "Conv2D", ["row2", "k2"], CONV),
      squeezed("line3", "conv2", -3),
      node("scaled", "Mul", ["line3", "bias"], T),
    ];
    const { Transpose, Squeeze, Unsqueeze, MaxPool } = ops(nodes, "scaled");
    assert.deepEqual(
      { Transpose, Squeeze, Unsqueeze, MaxPool },
      { Transpose: 2, Squeeze: 1, Unsqueeze: undefined, MaxPool: 2 },
    );
  });

  it("stay last where a line is convolved place by place, which is a product of matrices", () => {
    const line = [
      node("line_shape", "Const", [], { dtype: "int32", value: tensor("int32", [4], Int32Array.of(-1, 1, 64, 3)) }),
      node("line", "Reshape", ["x", "line_shape"], { ...T, Tshape: "int32" }),
      constant("point", [1, 1, 3, 8]),
      node("conv", "Conv2D", ["line", "point"], CONV),
    ];
    const { Transpose, Conv, MatMul } = ops(line, "conv");
    assert.deepEqual({ Transpose, Conv, MatMul }, { Transpose: undefined, Conv: undefined, MatMul: 1 });
  });

  it("stay second where the other operand has a value a channel at most", () => {
    const scalar = (name: string) => constant(name, []);
    const nodes = [
      K1,
      K2,
      BIAS,
      scalar("low"),
      scalar("high"),
      constant("style", [1, 1, 1, 8]),
      constant("slope", [1, 1, 8]),
      node("conv1", "Conv2D", ["x", "k1"], CONV),
      node("sum", "AddV2", ["conv1", "bias"], T),
      node("styled", "Mul", ["style", "sum"], T),
      node("sloped", "Mul", ["styled", "slope"], T),
      node("clipped", "ClipByValue", ["sloped", "low", "high"], T),
      node("quantised", "FakeQuantWithMinMaxVars", ["clipped", "low", "high"], {}),
      node("square", "SquaredDifference", ["quantised", "clipped"], T),
      node("conv2", "Conv2D", ["square", "k2"], CONV),
    ];
    assert.equal(ops(nodes, "conv2")["Transpose"], 2);
  });

  it("stand last where the other operand is an image", () => {
    const nodes = [K1, constant("image", [8, 8, 8]), node("conv1", "Conv2D", ["x", "k1"], CONV)];
    const sum = node("sum", "AddV2", ["conv1", "image"], T);
    assert.equal(ops([...nodes, sum], "sum")["Transpose"], 2);
  });

  it("are normalised where they stand", () => {
    const vector = (name: string) => constant(name, [8]);
    const nodes = [
      K1,
      vector("scale"),
      vector("offset"),
      vector("mean"),
      vector("variance"),
      node("conv1", "Conv2D", ["x", "k1"], CONV),
      node("norm", "FusedBatchNormV3", ["conv1", "scale", "offset", "mean", "variance"], {
        ...T,
        U: "float32",
        is_training: false,
      }),
      node("relu", "Relu", ["norm"], T),
    ];
    const { Transpose, BatchNormalization, Sub } = ops(nodes, "relu");
    assert.deepEqual({ Transpose, BatchNormalization, Sub }, { Transpose: 2, BatchNormalization: 1, Sub: undefined });
  });
});
