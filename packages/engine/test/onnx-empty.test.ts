import assert from "node:assert/strict";
import { create, onnx } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { FLOAT, floats, INT64, int, loadNodes, node, type Parts, value } from "./onnx-nodes.js";

const { GRAPH } = onnx.AttributeProto_AttributeType;

const x = (shape: number[]) =>
  new Map([
    [
      "x",
      tensor(
        "float32",
        shape,
        Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i),
      ),
    ],
  ]);

const count = create(onnx.TensorProtoSchema, { name: "k", dims: [1n], dataType: INT64, int64Data: [2n] });
/** The input `x` of that rank. */
const ofRank = (rank: number) => [
  value(
    "x",
    FLOAT,
    Array.from({ length: rank }, (_, i) => `d${i}`),
  ),
];

describe("tensors without elements in ONNX models do not end the process", () => {
  const outputs = [value("best", FLOAT), value("at", INT64)];
  const inner = node("TopK", ["x", "k"], ["inner_best", "inner_at"]);
  const branch = (name: string) => {
    const [best, at] = [`${name}_best`, `${name}_at`];
    const g = create(onnx.GraphProtoSchema, {
      name,
      node: [{ ...inner, output: [best, at] }],
      output: [value(best, FLOAT), value(at, INT64)],
    });
    return create(onnx.AttributeProtoSchema, { name, type: GRAPH, g });
  };
  const largest: Record<string, Parts> = {
    "of opset 17": {
      nodes: [node("TopK", ["x", "k"], ["best", "at"])],
      inputs: ofRank(2),
      outputs,
      initialisers: [count],
    },
    "of opset 9": { nodes: [node("TopK", ["x"], ["best", "at"], [int("k", 2)])], inputs: ofRank(2), outputs, opset: 9 },
    "in a branch": {
      nodes: [
        node("Shape", ["x"], ["shape"]),
        node("ReduceMax", ["shape"], ["longest"], [int("keepdims", 0)]),
        node("Equal", ["longest", "longest"], ["always"]),
        node("If", ["always"], ["best", "at"], [branch("then_branch"), branch("else_branch")]),
      ],
      inputs: ofRank(2),
      outputs,
      initialisers: [count],
    },
  };
  for (const [where, parts] of Object.entries(largest))
    it(`TopK ${where} answers with none`, async () => {
      await using dir = await tempDir();
      const model = await loadNodes(dir.path, parts);
      for (const rows of [0, 2, 0]) {
        const { outputs: found } = await model.run("serving_default", x([rows, 3]), {});
        assert.deepEqual(found.get("best")!.shape, [rows, 2]);
        assert.deepEqual(found.get("at")!.shape, [rows, 2]);
        if (rows > 0) assert.deepEqual(Array.from(found.get("best")!.data as Float32Array), [2, 1, 5, 4]);
        if (rows > 0) assert.deepEqual(Array.from(found.get("at")!.data as BigInt64Array), [2n, 1n, 2n, 1n]);
      }
      await model.close();
    });

  for (const [op, gates] of [
    ["LSTM", 4],
    ["GRU", 3],
  ] as const)
    it(`${op} refuses an empty batch or sequence by name, and goes on`, async () => {
      await using dir = await tempDir();
      const model = await loadNodes(dir.path, {
        nodes: [node(op, ["x", "w", "r"], ["", "last"], [int("hidden_size", 4)])],
        inputs: ofRank(3),
        outputs: [value("last", FLOAT)],
        initialisers: [floats("w", [1, 4 * gates, 3]), floats("r", [1, 4 * gates, 4])],
      });
      const run = (shape: number[]) => model.run("serving_default", x(shape), {});
      for (const shape of [
        [4, 0, 3],
        [0, 2, 3],
      ])
        await assert.rejects(
          run(shape),
          (error) =>
            isServingError(error, "INVALID_ARGUMENT") &&
            /without elements.*node lstm|without elements.*node gru/s.test(error.message),
        );
      assert.deepEqual((await run([4, 2, 3])).outputs.get("last")!.shape, [1, 2, 4]);
      await model.close();
    });

  // Opsets differ in what compares integers, in what an If takes, and in how Unsqueeze is told its axes.
  for (const opset of [7, 9, 10, 12, 17])
    it(`LSTM of opset ${opset} is served, of fixed lengths and of an unknown rank`, async () => {
      await using dir = await tempDir();
      for (const dims of [[5, 2, 3], undefined]) {
        const model = await loadNodes(dir.path, {
          nodes: [node("LSTM", ["x", "w", "r"], ["", "last"], [int("hidden_size", 4)])],
          inputs: [value("x", FLOAT, dims)],
          outputs: [value("last", FLOAT)],
          initialisers: [floats("w", [1, 16, 3]), floats("r", [1, 16, 4])],
          opset,
        });
        const { outputs: found } = await model.run("serving_default", x([5, 2, 3]), {});
        assert.deepEqual(found.get("last")!.shape, [1, 2, 4]);
        await assert.rejects(model.run("serving_default", x([5, 0, 3]), {}), (error) =>
          isServingError(error, "INVALID_ARGUMENT"),
        );
        await model.close();
      }
    });
});
