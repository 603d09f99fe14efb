import assert from "node:assert/strict";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, fromBinary, onnx, SignatureDefMapSchema, toBinary } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { loadOnnxModel } from "@shardserve/engine";
import { loadOrt } from "@shardserve/native";
import { hasOnnxModel } from "@shardserve/onnx";
import type { RunOptions } from "@shardserve/servable";
import { DTYPES, type Tensor, tensor } from "@shardserve/tensor";
import { goldenDifference, readGolden, REPO_DIR, tempDir } from "@shardserve/testkit";
import { FLOAT, INT64, int, loadNodes, node, value } from "./onnx-nodes.js";
import { ShuffledRows } from "./shuffled-rows.js";

const FIXTURES = join(REPO_DIR, "test/fixtures/onnx");
const load = (dir: string) => loadOnnxModel({ dir, ort: loadOrt() });

describe("ONNX models", () => {
  for (const name of ["iris", "embedding", "bags", "corners"]) {
    it(`${name}: answers as onnxruntime does, again and again, and leaves nothing behind`, async () => {
      const before = { ...loadOrt().live };
      const model = await load(join(FIXTURES, name, "1"));
      for (let round = 0; round < 4; round++) {
        for (const { inputs, outputs } of readGolden(join(FIXTURES, name, "golden.json")).cases) {
          const result = await model.run("serving_default", inputs, { outputs: [...outputs!.keys()] });
          for (const [alias, expected] of outputs!) {
            assert.equal(goldenDifference(result.outputs.get(alias), expected), undefined, alias);
          }
        }
      }
      await model.close();
      assert.deepEqual(loadOrt().live, before);
    });
  }

  it("with its table elsewhere looks rows up at the epoch of the run", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const [rows, dim] = [3, 2];
    const table = { name: "t", checkpointKey: "t", rows, rowShape: [dim], dim, rowBytes: dim * 4 };
    const values = tensor("float32", [rows, dim], new Float32Array(rows * dim));
    const rowSource = new ShuffledRows([{ ...table, dtype: "float32", rowDtype: "same" }], [values]);
    const parts = {
      nodes: [node("Gather", ["t", "ids"], ["y"])],
      inputs: [value("t", FLOAT, [rows, dim]), value("ids", INT64, ["n"])],
      outputs: [value("y", FLOAT)],
    };
    const model = await loadNodes(temp.path, parts, rowSource);
    const inputs = new Map([["ids", tensor("int64", [1], BigInt64Array.of(2n))]]);
    for (const epoch of [4, 9])
      assert.equal((await model.run("serving_default", inputs, { epoch })).report?.epoch, epoch);
    await model.close();
  });

  it("with a loop never runs on the event loop, however quick it was", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const body = create(onnx.GraphProtoSchema, {
      name: "body",
      node: [node("Identity", ["c"], ["c2"]), node("Add", ["a", "a"], ["a2"])],
      input: [value("i", INT64, []), value("c", onnx.TensorProto_DataType.BOOL, []), value("a", FLOAT, [])],
      output: [value("c2", onnx.TensorProto_DataType.BOOL, []), value("a2", FLOAT, [])],
    });
    const loop = node("Loop", ["n", "", "x"], ["y"]);
    loop.attribute.push(
      create(onnx.AttributeProtoSchema, { name: "body", type: onnx.AttributeProto_AttributeType.GRAPH, g: body }),
    );
    const model = await loadNodes(temp.path, {
      nodes: [loop],
      inputs: [value("n", INT64, []), value("x", FLOAT, [])],
      outputs: [value("y", FLOAT, [])],
    });
    const run = (trips: bigint, options: RunOptions = {}) => {
      const inputs = new Map<string, Tensor>([
        ["n", tensor("int64", [], BigInt64Array.of(trips))],
        ["x", tensor("float32", [], Float32Array.of(0))],
      ]);
      return model.run("serving_default", inputs, options);
    };
    for (let i = 0; i < 8; i++) await run(1n);
    const abort = new AbortController();
    const ended = run(3_000_000n, { signal: abort.signal }); // seconds, where nobody can stop it
    abort.abort(new Error("enough"));
    await assert.rejects(ended, /enough/);
    await model.close();
  });

  it("tells its signature, with the tensor under a ZipMap", async () => {
    const model = await load(join(FIXTURES, "iris/1"));
    const { signatureDef } = fromBinary(SignatureDefMapSchema, model.metadata);
    const definition = signatureDef["serving_default"]!;
    assert.deepEqual(Object.keys(definition.inputs), ["X"]);
    assert.deepEqual(
      definition.inputs["X"]!.tensorShape!.dim.map(({ size }) => size),
      [-1n, 4n],
    );
    assert.deepEqual(Object.keys(definition.outputs), ["output_label", "output_probability"]);
    assert.equal(definition.methodName, "tensorflow/serving/predict");
    await model.close();
  });

  it("refuses shapes and ids that the graph does not take, and goes on", async () => {
    const model = await load(join(FIXTURES, "embedding/1"));
    const run = (shape: number[], ...ids: bigint[]) =>
      model.run("serving_default", new Map([["ids", tensor("int64", shape, new BigInt64Array(ids))]]), {});
    await assert.rejects(run([2], 1n, 2n), (error) => isServingError(error, "INVALID_ARGUMENT"));
    await assert.rejects(run([1, 1], 50n), (error) => isServingError(error, "INVALID_ARGUMENT"));
    assert.equal((await run([1, 1], 49n)).outputs.size, 2);
    await model.close();
  });

  it("refuses damaged files, naming what is wrong", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const dir = join(temp.path, "1");
    assert.equal(await hasOnnxModel(dir), false);
    await cp(join(FIXTURES, "embedding/1"), dir, { recursive: true });
    assert.equal(await hasOnnxModel(dir), true);
    const bytes = await readFile(join(dir, "model.onnx"));
    await writeFile(join(dir, "model.onnx"), bytes.subarray(0, 200));
    await assert.rejects(load(dir), (error) => isServingError(error, "GRAPH_INVALID"));
    await writeFile(join(dir, "model.onnx"), bytes);
    await rm(join(dir, "weights.bin"));
    await assert.rejects(load(dir), /ENGINE_FAILED|weights\.bin/);
    await writeFile(join(temp.path, "weights.bin"), "x".repeat(10_000));
    const escaping = Buffer.from(bytes.toString("latin1").replaceAll("weights.bin", "../eights.b"), "latin1");
    await writeFile(join(dir, "model.onnx"), escaping);
    await assert.rejects(load(dir), (error) => isServingError(error, "ENGINE_FAILED"));
  });

  it("zeros around an image are values for the maximum behind them", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const { INTS } = onnx.AttributeProto_AttributeType;
    const pads = create(onnx.TensorProtoSchema, {
      name: "pads",
      dims: [8n],
      dataType: INT64,
      int64Data: [0n, 0n, 1n, 1n, 0n, 0n, 1n, 1n],
    });
    const window = create(onnx.AttributeProtoSchema, { name: "kernel_shape", type: INTS, ints: [3n, 3n] });
    const model = await loadNodes(temp.path, {
      nodes: [node("Pad", ["x", "pads"], ["padded"]), node("MaxPool", ["padded"], ["y"], [window])],
      inputs: [value("x", FLOAT, ["n", "c", "h", "w"])],
      outputs: [value("y", FLOAT)],
      initialisers: [pads],
    });
    const x = tensor("float32", [1, 1, 3, 3], new Float32Array(9).fill(-1));
    const { outputs } = await model.run("serving_default", new Map([["x", x]]), {});
    assert.deepEqual(Array.from(outputs.get("y")!.data as Float32Array), [0, 0, 0, 0, -1, 0, 0, 0, 0]);
    await model.close();
  });

  it("names an input that is no tensor, alike with tables and with rows from elsewhere", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const tensorType = create(onnx.TypeProto_TensorSchema, { elemType: DTYPES.float32.onnx });
    const elemType = create(onnx.TypeProtoSchema, { value: { case: "tensorType", value: tensorType } });
    const some = create(onnx.TypeProto_OptionalSchema, { elemType });
    const graph = create(onnx.GraphProtoSchema, {
      name: "test",
      input: [
        create(onnx.ValueInfoProtoSchema, { name: "maybe", type: { value: { case: "optionalType", value: some } } }),
      ],
      node: [
        create(onnx.NodeProtoSchema, { opType: "OptionalHasElement", input: ["maybe"], output: ["is_there"] }),
        create(onnx.NodeProtoSchema, { opType: "Identity", input: ["is_there"], output: ["answer"] }),
      ],
      output: [create(onnx.ValueInfoProtoSchema, { name: "answer" })],
    });
    const model = create(onnx.ModelProtoSchema, { irVersion: 8n, opsetImport: [{ version: 18n }], graph });
    await writeFile(join(temp.path, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
    const refused = (error: unknown) =>
      isServingError(error, "OP_UNSUPPORTED") && error.message.includes('the input "maybe" is no tensor');
    await assert.rejects(load(temp.path), refused);
    const rowSource = new ShuffledRows([], []);
    await assert.rejects(loadOnnxModel({ dir: temp.path, ort: loadOrt(), rowSource }), refused);
  });

  it("leaves out an output of an element type that answers cannot carry, and names such an input", async () => {
    await using temp = await tempDir("shardserve-onnx-");
    const FLOAT8E5M2 = 19;
    const model = await loadNodes(temp.path, {
      nodes: [node("Cast", ["x"], ["small"], [int("to", FLOAT8E5M2)]), node("Neg", ["x"], ["y"])],
      inputs: [value("x", FLOAT, ["n"])],
      outputs: [value("small", FLOAT8E5M2), value("y", FLOAT)],
      opset: 19,
    });
    const { outputs } = await model.run(
      "serving_default",
      new Map([["x", tensor("float32", [1], Float32Array.of(2))]]),
      {},
    );
    assert.deepEqual([...outputs.keys()], ["y"]);
    await model.close();
    const parts = {
      nodes: [node("Cast", ["small"], ["y"], [int("to", FLOAT)])],
      inputs: [value("small", FLOAT8E5M2, ["n"])],
      outputs: [value("y", FLOAT)],
      opset: 19,
    };
    await assert.rejects(
      loadNodes(temp.path, parts),
      (error) => isServingError(error, "OP_UNSUPPORTED") && error.message.includes('the input "small" is no tensor'),
    );
  });
});
