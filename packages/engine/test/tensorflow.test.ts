import assert from "node:assert/strict";
import { join } from "node:path";
import { type EngineModel, loadModel, type LoadModelOptions } from "@shardserve/engine";
import type { KernelTable } from "@shardserve/graph";
import { loadOrt, loadTensorFlow, type TensorFlow } from "@shardserve/native";
import { tensor } from "@shardserve/tensor";
import { goldenDifference, NO_TENSORFLOW, readGolden, REPO_DIR, tensorFlowDir } from "@shardserve/testkit";
import { DLRM_DIR, dlrmInputs, dlrmRows } from "./dlrm.js";

const WIDE_DEEP = join(REPO_DIR, "test/fixtures/models/wide-deep");
/** A host without kernels: whatever is not numeric has nowhere to run but in TensorFlow. */
const noKernels: KernelTable = { get: () => undefined, supports: () => "there are no kernels" };

describe("engines of loadModel", () => {
  it("refuses an engine that is not there", async () => {
    await assert.rejects(loadModel({ dir: DLRM_DIR, ort: loadOrt(), engine: "tensorflow" }), {
      code: "DEPENDENCY_MISSING",
      message: /no libtensorflow/,
    });
  });

  it("takes ONNX Runtime where there is nothing else", async () => {
    const model = await loadModel({ dir: DLRM_DIR, ort: loadOrt() });
    assert.equal(model.engine.name, "onnxruntime");
    assert.equal(model.engine.form, "segments");
    assert.equal(model.engine.why, "there is no libtensorflow");
    await model.close();
  });
});

describe("engine tensorflow of loadModel", function () {
  this.timeout(60_000);
  let tensorFlow: TensorFlow;
  before(async function () {
    const directory = tensorFlowDir();
    if (directory === undefined) {
      console.log(NO_TENSORFLOW);
      this.skip();
    }
    tensorFlow = await loadTensorFlow({ directory, device: "cpu", intraOpThreads: 2, interOpThreads: 2 });
  });
  afterEach(() => assert.deepEqual(tensorFlow.live, { tensors: 0, sessions: 0 }, "nothing is left behind"));

  const load = (options: Partial<LoadModelOptions> = {}): Promise<EngineModel> =>
    loadModel({ dir: DLRM_DIR, ort: loadOrt(), tensorFlow, engine: "tensorflow", ...options });

  it("feeds rows from elsewhere at the cut", async () => {
    const rows = await dlrmRows();
    const sharded = await load({ rowSource: rows });
    assert.equal(sharded.engine.form, "segments");
    const whole = await load();
    assert.equal(whole.engine.form, "whole");
    for (const batch of [1, 2, 17, 64, 0]) {
      const inputs = dlrmInputs(batch, (i) => (i * 7) % 3);
      const { outputs: expected } = await whole.run("serving_default", inputs, {});
      const { outputs } = await sharded.run("serving_default", inputs, {});
      for (const [alias, value] of expected) assert.equal(goldenDifference(outputs.get(alias), value), undefined);
    }
    assert.ok(rows.calls >= 5);
    const outside = dlrmInputs(3, (i) => (i === 7 ? 37 : 0));
    await assert.rejects(sharded.run("serving_default", outside, {}), { code: "ROW_OUT_OF_RANGE" });
    await assert.rejects(whole.run("serving_default", outside, {}), { code: "INVALID_ARGUMENT" });
    assert.equal(rows.leases, 0);
    await sharded.close();
    await whole.close();
    assert.ok(rows.isClosed);
  });

  it("computes only the outputs that are asked for, and names what is wrong with a request", async () => {
    const model = await load({ dir: join(WIDE_DEEP, "1") });
    const [item] = readGolden(join(WIDE_DEEP, "golden.json")).cases;
    const [alias, expected] = [...item!.outputs!][0]!;
    const { outputs } = await model.run(item!.signature, item!.inputs, { outputs: [alias] });
    assert.deepEqual([...outputs.keys()], [alias]);
    assert.equal(goldenDifference(outputs.get(alias), expected), undefined);
    await assert.rejects(model.run(item!.signature, item!.inputs, { outputs: ["z"] }), /has no output "z"/);
    await assert.rejects(model.run(item!.signature, new Map(), {}), {
      code: "INVALID_ARGUMENT",
      message: /needs input/,
    });
    await assert.rejects(model.run("nonsense", item!.inputs, {}), { code: "NOT_FOUND" });
    await model.close();
  });

  it("tells a wrong dtype in TensorFlow's words", async () => {
    const model = await load();
    const inputs = dlrmInputs(1);
    const wrong = new Map(inputs).set("dense", tensor("float64", [1, 13], new Float64Array(13)));
    await assert.rejects(model.run("serving_default", wrong, {}), {
      code: "INVALID_ARGUMENT",
      message: /to be float but double is provided/,
    });
    await model.close();
  });

  it("serves with auto what ONNX Runtime cannot, and says what that is", async () => {
    const dir = join(WIDE_DEEP, "1");
    await assert.rejects(load({ dir, kernels: noKernels, engine: "onnxruntime" }), { code: "OP_UNSUPPORTED" });
    const model = await load({ dir, kernels: noKernels, engine: "auto" });
    assert.equal(model.engine.name, "tensorflow");
    assert.match(model.engine.why, /^ONNX Runtime \S+ lacks something: signature ".*" needs op \S+ of node/);
    await model.close();
  });

  it("runs a model that keeps state in segments, where writes come one after the other", async () => {
    const dir = join(REPO_DIR, "packages/engine/test/testdata/control-flow/tables-and-state");
    const model = await load({ dir });
    assert.equal(model.engine.form, "segments");
    await model.close();
  });
});
