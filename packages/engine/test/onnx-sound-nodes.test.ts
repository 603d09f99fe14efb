import assert from "node:assert/strict";
import { create, onnx } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { FLOAT, floats, int, loadNodes, node, type Parts, value } from "./onnx-nodes.js";

const { FLOAT: FLOAT_ATTRIBUTE, INTS } = onnx.AttributeProto_AttributeType;
const float = (name: string, f: number) => create(onnx.AttributeProtoSchema, { name, type: FLOAT_ATTRIBUTE, f });
const shape = create(onnx.AttributeProtoSchema, { name: "shape", type: INTS, ints: [2n, 3n] });
const x = new Map([["x", tensor("float32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))]]);

describe("nodes that no exporter should write do not end the process", () => {
  const parts = (nodes: onnx.NodeProto[], outputs = ["y"], opset = 18): Parts => ({
    nodes,
    inputs: [value("x", FLOAT, [2, 3])],
    outputs: outputs.map((name) => value(name, FLOAT)),
    initialisers: [floats("w", [3])],
    opset,
  });
  const refused: Record<string, Parts> = {
    "a Max of an input without a name": parts([node("Max", ["x", "", "x"], ["y"])]),
    "a Min of a last input without a name": parts([node("Min", ["x", ""], ["y"])]),
    "a Sum of an input without a name": parts([node("Sum", ["x", ""], ["y"])]),
    "a LayerNormalization of no axis": parts([node("LayerNormalization", ["x", "w"], ["y"], [int("axis", 2 ** 62)])]),
    "a TopK of no axis": parts([node("TopK", ["x", "w"], ["y", "at"], [int("axis", 2 ** 62)])]),
    "a Split into more than it says": parts(
      [node("Split", ["x"], ["a", "b", "c"], [int("axis", 1), int("num_outputs", 2)])],
      ["a", "b", "c"],
    ),
    "a negative deviation": parts([node("RandomNormal", [], ["y"], [shape, float("scale", -1)])]),
    "a deviation that is no number": parts([node("RandomNormalLike", ["x"], ["y"], [float("scale", NaN)])]),
    "bounds the wrong way round": parts([node("RandomUniform", [], ["y"], [shape, float("low", 2)])]),
  };
  for (const [what, model] of Object.entries(refused))
    it(`${what} is refused when the model is loaded`, async () => {
      await using dir = await tempDir();
      const { opType, output } = model.nodes[0]!;
      await assert.rejects(
        loadNodes(dir.path, model),
        (error) =>
          isServingError(error, "GRAPH_INVALID") && error.message.startsWith(`${opType} "${opType.toLowerCase()}`),
        output.join(),
      );
    });

  it("an empty name of a last input is an input that is left out", async () => {
    await using dir = await tempDir();
    const nodes = [
      node("LayerNormalization", ["x", "w", ""], ["y"]),
      node("Unsqueeze", ["x", "last"], ["signal"]),
      node("DFT", ["signal", "", ""], ["z"]),
    ];
    const last = create(onnx.TensorProtoSchema, { name: "last", dims: [1n], dataType: 7, int64Data: [2n] });
    const model = parts(nodes, ["y", "z"], 20);
    const loaded = await loadNodes(dir.path, { ...model, initialisers: [...model.initialisers!, last] });
    const { outputs } = await loaded.run("serving_default", x, {});
    assert.deepEqual(outputs.get("z")!.shape, [2, 3, 2]);
    const [first, second, third] = outputs.get("y")!.data as Float32Array;
    assert.ok(Math.abs(first! + 0.612) < 1e-3 && second === 0 && Math.abs(third! - 0.612) < 1e-3);
    await loaded.close();
  });

  it("a normal distribution without deviation gives its mean", async () => {
    await using dir = await tempDir();
    const attributes = [float("scale", 0), float("mean", 2.5)];
    const nodes = [
      node("RandomNormalLike", ["x"], ["y"], attributes),
      node("RandomNormal", [], ["z"], [shape, ...attributes]),
    ];
    const model = await loadNodes(dir.path, parts(nodes, ["y", "z"]));
    for (const { data } of (await model.run("serving_default", x, {})).outputs.values())
      assert.deepEqual(Array.from(data as Float32Array), Array(6).fill(2.5));
    await model.close();
  });
});
