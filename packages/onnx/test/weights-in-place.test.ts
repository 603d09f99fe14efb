import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, fromBinary, onnx, toBinary } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { isExternal, readWithWeightsInPlace } from "@shardserve/onnx";
import { tempDir } from "@shardserve/testkit";
import fc from "fast-check";

const FLOAT = 1;
const PATH = "model.onnx";
const { DEFAULT } = onnx.TensorProto_DataLocation;

/** What ONNX Runtime maps, back in the model. */
function withWeightsBack(slim: Uint8Array, file: Uint8Array): onnx.ModelProto {
  const model = fromBinary(onnx.ModelProtoSchema, slim);
  for (const tensor of model.graph!.initializer) {
    if (!isExternal(tensor) || tensor.rawData.length > 0) continue;
    const { location, offset, length } = Object.fromEntries(tensor.externalData.map(({ key, value }) => [key, value]));
    assert.equal(location, PATH);
    tensor.rawData = file.subarray(Number(offset), Number(offset) + Number(length));
    tensor.externalData = [];
    tensor.dataLocation = DEFAULT;
  }
  return model;
}

const tensors = fc.array(
  fc.record({
    name: fc.string(),
    bytes: fc.oneof(fc.constant(0), fc.integer({ min: 4090, max: 4100 }), fc.constant(200_000)),
  }),
  { maxLength: 5 },
);

describe("weights of an ONNX model stay in its file", () => {
  it("and what is read refers to just their bytes", async () => {
    await using dir = await tempDir();
    await fc.assert(
      fc.asyncProperty(tensors, fc.array(fc.string()), async (weights, names) => {
        const graph = create(onnx.GraphProtoSchema, {
          name: "g",
          node: names.map((name) =>
            create(onnx.NodeProtoSchema, { name, opType: "Relu", input: ["x"], output: [name] }),
          ),
          initializer: weights.map(({ name, bytes }, i) =>
            create(onnx.TensorProtoSchema, {
              name,
              dataType: FLOAT,
              dims: [BigInt(bytes)],
              rawData: new Uint8Array(bytes).fill(i + 1),
              dataLocation: DEFAULT,
            }),
          ),
        });
        const model = create(onnx.ModelProtoSchema, { irVersion: 8n, opsetImport: [{ version: 17n }], graph });
        const file = toBinary(onnx.ModelProtoSchema, model);
        await writeFile(join(dir.path, PATH), file);
        const slim = await readWithWeightsInPlace(dir.path);
        const kept = weights.filter(({ bytes }) => bytes < 4096).reduce((sum, { bytes }) => sum + bytes, 0);
        assert.ok(slim.length <= kept + 1000 + 4 * JSON.stringify([weights, names]).length, "no weights are read");
        assert.deepEqual(toBinary(onnx.ModelProtoSchema, withWeightsBack(slim, file)), file);
      }),
      { numRuns: 50 },
    );
  });

  it("damaged files are refused by name, or read as they stand", async function () {
    this.timeout(60_000);
    await using dir = await tempDir();
    const graph = create(onnx.GraphProtoSchema, {
      node: [create(onnx.NodeProtoSchema, { opType: "MatMul", input: ["x", "w"], output: ["y"] })],
      initializer: [create(onnx.TensorProtoSchema, { name: "w", dataType: FLOAT, rawData: new Uint8Array(5000) })],
    });
    const whole = toBinary(onnx.ModelProtoSchema, create(onnx.ModelProtoSchema, { irVersion: 8n, graph }));
    const head = fc.integer({ min: 0, max: 120 });
    let refusals = 0;
    await fc.assert(
      fc.asyncProperty(head, fc.integer({ min: 0, max: 255 }), fc.nat(whole.length), async (at, byte, length) => {
        const damaged = whole.slice(0, length);
        if (at < length) damaged[at] = byte;
        await writeFile(join(dir.path, PATH), damaged);
        try {
          assert.ok((await readWithWeightsInPlace(dir.path)).length <= damaged.length + 200);
        } catch (error) {
          assert.ok(isServingError(error, "GRAPH_INVALID") && error.message.includes(PATH), String(error));
          refusals++;
        }
      }),
      { numRuns: 300 },
    );
    assert.ok(refusals > 0);
  });
});
