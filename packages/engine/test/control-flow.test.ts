import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromBinary, onnx } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { importModel, planSignature, type SignaturePlan } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { deviceSupports, lowerSegment } from "@shardserve/onnx";
import { type RowSource, storedRowBytes } from "@shardserve/rowstore";
import {
  BundleReader,
  initOp,
  objectKeys,
  readSavedModel,
  selectMetaGraph,
  variableBindings,
} from "@shardserve/savedmodel";
import { type Model, type RowsReport, totalReport } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { type Golden, type GoldenCase, goldenDifference, readGolden, REPO_DIR } from "@shardserve/testkit";
import { loadModel } from "../src/index.js";
import { ShuffledRows } from "./shuffled-rows.js";

const MODELS = join(REPO_DIR, "packages/engine/test/testdata/control-flow");

/** Models with loops, branches and lists, made by scripts/make_control_flow_models.py, answer as TensorFlow answered. */
describe("control flow", () => {
  for (const name of readdirSync(MODELS)) {
    it(name, async () => {
      const golden = readGolden(join(MODELS, name, "golden.json"));
      const before = { ...loadOrt().live };
      assert.deepEqual(await differences(name, golden), []);
      assert.deepEqual(loadOrt().live, before, "a closed model leaves nothing behind");
    });
  }

  it("leaves no loop of a recurrent layer to the host", async () => {
    for (const name of ["recurrent", "recurrent-layers", "dynamic-rnn", "images"]) {
      assert.deepEqual([...(await planOf(name)).controls.keys()], [], name);
    }
  });

  it("leaves no loop over large tensors to the host, however plain its arithmetic", async () => {
    const loops = [...(await planOf("tiles-of-boxes")).controls.keys()].filter((name) => name.endsWith("loop"));
    assert.deepEqual(loops, []);
  });

  it("runs an LSTM or GRU as one op of the engine, other recurrent layers as loops", async () => {
    for (const [name, count] of [
      [join(REPO_DIR, "test/fixtures/strangers/jax-recurrent/1"), 2], // a GRU of Flax, and its LSTM with two products for all gates
      ["recurrent-layers", 3], // one of given states, two that are the directions of one layer
      ["recurrent", 0], // masked, or of other functions
      ["dynamic-rnn", 0], // masked by lengths
    ] as const) {
      const { steps, infos } = await planOf(name);
      const models = steps.flatMap((step) =>
        step.kind === "device" ? [lowerSegment(step, infos).encode(() => new Uint8Array(0))] : [],
      );
      assert.equal(Buffer.concat(models).toString("latin1").split("hidden_size").length - 1, count, name);
    }
  });

  it("turns no state of a convolutional loop, only the image that a turn reads", async () => {
    const { steps, infos } = await planOf("images");
    const loops = steps.flatMap((step) => {
      if (step.kind !== "device") return [];
      const model = lowerSegment(step, infos).encode(() => new Uint8Array(0));
      return fromBinary(onnx.ModelProtoSchema, model).graph!.node.filter(({ opType }) => opType === "Loop");
    });
    assert.equal(loops.length, 2);
    for (const { attribute } of loops) {
      const body = attribute.find(({ name }) => name === "body")!.g!;
      const moved = body.node.filter(({ opType }) => opType === "Transpose").flatMap(({ input }) => input);
      const states = new Set(body.input.map(({ name }) => name));
      assert.deepEqual(
        moved.filter((name) => states.has(name)),
        [],
      );
      assert.deepEqual(
        body.output.filter(({ name }) =>
          body.node.some((node) => node.opType === "Transpose" && node.output[0] === name),
        ),
        [],
      );
    }
  });

  it("fetches rows of a sharded table in every turn of a loop", async () => {
    const name = "tables-and-state";
    const rowSource = await shardedRows(name);
    assert.deepEqual(await differences(name, readGolden(join(MODELS, name, "golden.json")), rowSource), []);
    assert.ok(rowSource.calls > 4);
    assert.equal(rowSource.leases, 0);
  });

  it("reports the rows that the turns of a loop looked up", async () => {
    const name = "tables-and-state";
    const rowSource = await shardedRows(name);
    const model = await loadModel({ dir: join(MODELS, name), ort: loadOrt(), rowSource });
    const reports: (RowsReport | undefined)[] = [];
    for (const { signature, inputs, outputs } of readGolden(join(MODELS, name, "golden.json")).cases) {
      if (outputs) reports.push((await model.run(signature, inputs, { epoch: 7 })).report);
    }
    await model.close();
    const total = totalReport(reports);
    assert.ok(rowSource.idCount > reports.length, "one row a request at most would tell little");
    assert.equal(total?.shardRows, rowSource.idCount);
    assert.deepEqual(
      total.tables.map(({ shardRows }) => shardRows),
      [rowSource.idCount],
    );
    assert.equal(total.epoch, 7, "the one that the run asked for");
  });

  it("ends a loop when the request is given up", async () => {
    const model = await loadModel({ dir: join(MODELS, "loops"), ort: loadOrt() });
    try {
      const [first] = readGolden(join(MODELS, "loops", "golden.json")).cases;
      const n = { dtype: "int32", shape: [], data: Int32Array.of(2 ** 30) } as const;
      const signal = AbortSignal.timeout(50);
      const run = model.run("serving_default", new Map([...first!.inputs, ["n", n]]), { signal });
      await assert.rejects(run, (error) => error === signal.reason);
    } finally {
      await model.close();
    }
  });
});

/** @param name  of a model of these tests, or the directory of another */
async function planOf(name: string): Promise<SignaturePlan> {
  const savedModel = await readSavedModel(resolve(MODELS, name), {});
  const metaGraph = selectMetaGraph(savedModel, ["serve"]);
  await using reader = await BundleReader.open(savedModel.variablesPrefix!);
  const bindings = variableBindings(metaGraph, reader.entries, await objectKeys(metaGraph, reader, {})).variables;
  const model = importModel(metaGraph, { bindings, entries: reader.entries, initOp: initOp(metaGraph) });
  return planSignature(model, "serving_default", { kernels: hostKernels, device: { supports: deviceSupports } });
}

/** The table of model tables-and-state, as shards would give it. */
async function shardedRows(name: string): Promise<ShuffledRows> {
  await using reader = await BundleReader.open(join(MODELS, name, "variables/variables"));
  const checkpointKey = "rows/.ATTRIBUTES/VARIABLE_VALUE";
  const values = (await reader.read(checkpointKey)) as Tensor<"float32">;
  const [rows, dim] = values.shape as [number, number];
  const rowBytes = storedRowBytes("same", "float32", dim);
  const info = { name: "rows", checkpointKey, rows, rowShape: [dim], dim, rowBytes };
  return new ShuffledRows([{ ...info, dtype: "float32", rowDtype: "same" }], [values]);
}

async function differences(name: string, golden: Golden, rowSource?: RowSource): Promise<string[]> {
  const load = () => loadModel({ dir: join(MODELS, name), ort: loadOrt(), ...(rowSource && { rowSource }) });
  let model = await load();
  const wrong: string[] = [];
  try {
    for (const [i, item] of golden.cases.entries()) {
      if (golden.isStateful && i > 0) {
        await model.close();
        model = await load();
      }
      wrong.push(...(await caseDifferences(model, item)).map((text) => `case ${i}: ${text}`));
    }
  } finally {
    await model.close();
  }
  return wrong;
}

async function caseDifferences(model: Model, item: GoldenCase): Promise<string[]> {
  try {
    const { outputs } = await model.run(item.signature, item.inputs, {});
    if (!item.outputs) return [`must fail with ${item.error}`];
    return [...item.outputs].flatMap(([alias, expected]) => {
      const difference = goldenDifference(outputs.get(alias), expected);
      return difference === undefined ? [] : [`${alias} ${difference}`];
    });
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    return item.error !== undefined && error.status !== "INTERNAL" ? [] : [`${error.code}: ${error.message}`];
  }
}
