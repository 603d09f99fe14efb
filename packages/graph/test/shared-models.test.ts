import assert from "node:assert/strict";
import { join, relative } from "node:path";
import { FIXTURE_MODELS, modelDirs, needSharedModels, sharedModelsDir } from "@shardserve/testkit";
import { contextOf, infer } from "../src/infer/infer.js";
import { refKey, type TensorRef } from "../src/ir/ir.js";
import type { ModelGraph } from "../src/import/model.js";
import { planInitInTurns, planSignature } from "../src/plan/plan-signature.js";
import type { SignaturePlan } from "../src/plan/plan.js";
import { findTables } from "../src/plan/tables.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { assetPaths, loadModelGraph } from "./load-model-graph.js";

/** What a host of this project has, or will have, and an engine has not; strings and tables go to the host anyway. */
const HOST_OPS = `HashTable HashTableV2 MutableHashTableV2 LookupTableFind LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2
  InitializeTableFromTextFileV2 InitializeTableV2 VarHandleOp ReadVariableOp VarIsInitializedOp Assign AssignAdd AssignSub
  AssignVariableOp AssignAddVariableOp ParseExample ParseExampleV2 AsString StringFormat StringJoin StringLower StringToNumber
  StringToHashBucketFast StringSplitV2 StaticRegexReplace RegexReplace Assert Identity Cast Size Shape Where GatherNd Gather
  GatherV2 Reshape ExpandDims Squeeze Pack ConcatV2 Slice StridedSlice Equal NotEqual Less Greater GreaterEqual LogicalAnd
  LogicalNot LogicalOr SelectV2 Select AddV2 Add Sub Mul Maximum Minimum Sum Max Prod Unique Range Fill Tile Transpose
  SparseToDense SparseReshape SparseFillEmptyRows SparseCross SparseReorder SparseSegmentMean SparseSegmentSum Bucketize
  BoostedTreesBucketize BucketizeWithInputBoundaries RaggedTensorToTensor Bincount DenseBincount Cumsum Substr FloorMod
  RandomUniform FloorDiv RealDiv ZerosLike OnesLike IsNan Floor Log Mean AddN ReverseV2 DynamicPartition DynamicStitch ParallelDynamicStitch
  BoundedIds FilledIds PooledLookup PresentElements`;
const REFUSED =
  `Where Unique SparseToDense SparseReshape SparseFillEmptyRows SparseCross SparseReorder SparseSegmentMean
  SparseSegmentSum Bucketize BoostedTreesBucketize BucketizeWithInputBoundaries RaggedTensorToTensor DenseBincount
  StatelessWhile StatelessIf TensorListReserve TensorListFromTensor TensorListStack DenseToDenseSetOperation Switch Merge
  Enter Exit NextIteration LoopCond TensorArrayV3 TensorArrayScatterV3 TensorArrayReadV3 TensorArrayWriteV3
  TensorArrayGatherV3 TensorArraySizeV3 IteratorGetNext IteratorFromStringHandle BoundedIds FilledIds PooledLookup PresentElements`.replace(
    /\s+/g,
    " ",
  );
const options = { kernels: fakeKernels(HOST_OPS.replace(/\s+/g, " ")), device: fakeDevice(REFUSED) };

/** A plan may be run: every value is there when a step or the caller reads it, nothing runs twice, nothing is left over. */
function assertRunnable(plan: SignaturePlan): void {
  const ready = new Set(plan.inputs.map(({ ref }) => refKey(ref)));
  const need = (ref: TensorRef, who: string): void => assert.ok(ready.has(refKey(ref)), `${who} reads ${refKey(ref)}`);
  const ran = new Set<string>();
  for (const step of plan.steps) {
    if (step.kind === "lookup") {
      for (const { ids, rows, slots } of step.lookups) {
        need(ids, "a lookup");
        ready.add(refKey(rows)).add(refKey(slots));
      }
      continue;
    }
    for (const ref of step.inputs) need(ref, step.id);
    const inside = new Set(step.inputs.map(refKey));
    const names = new Set<string>();
    for (const node of step.nodes) {
      const isLeaf = node.op === "Const" || node.op === "Variable";
      assert.ok(isLeaf || !ran.has(node.name), `${node.name} runs twice`);
      if (!isLeaf) ran.add(node.name);
      for (const ref of node.inputs)
        assert.ok(inside.has(refKey(ref)) || names.has(ref.node), `${node.name} reads ${refKey(ref)}`);
      if (step.kind === "host")
        for (const control of node.controls) assert.ok(ran.has(control), `${node.name} waits for ${control}`);
      names.add(node.name);
    }
    for (const ref of step.outputs) {
      assert.ok(names.has(ref.node), `${step.id} gives ${refKey(ref)}`);
      ready.add(refKey(ref));
    }
  }
  for (const { ref, alias } of plan.outputs) need(ref, `output ${alias}`);
  for (const node of plan.graph.values()) {
    const isElsewhere = ["Const", "Variable", "Placeholder", "Lookup"].includes(node.op);
    assert.ok(isElsewhere || ran.has(node.name), `${node.name} (${node.op}) runs`);
  }
}

function stepsOf(plan: SignaturePlan): string {
  return plan.steps.map((step) => (step.kind === "lookup" ? `lookup ${step.lookups.length}` : step.kind)).join(", ");
}

describe("SavedModels made elsewhere", function () {
  this.timeout(60_000);
  const dirs = [...modelDirs(FIXTURE_MODELS), ...modelDirs(sharedModelsDir())];

  it("all import, and every signature compiles to a plan that can run, or names what is missing", async function () {
    needSharedModels(this);
    for (const dir of dirs) {
      const model = await loadModelGraph(dir);
      assert.deepEqual([...model.broken], [], dir);
      for (const name of model.signatures.keys()) {
        const plan = planSignature(model, name, options);
        if (plan.unsupported.length === 0) assertRunnable(plan);
        else
          assert.ok(
            plan.unsupported.every(({ op, node, why }) => op !== "" && node !== "" && why !== ""),
            dir,
          );
      }
      const init = await planInitInTurns(model, { kernels: options.kernels, assets: await assetPaths(dir) });
      if (!init) continue;
      assert.deepEqual(init.unsupported, [], dir);
      assertRunnable(init);
    }
  });

  it("are cut the same way whether rows are here or on shards", async function () {
    needSharedModels(this);
    for (const dir of dirs) {
      const model = await loadModelGraph(dir);
      const tables = new Set(
        findTables(model, options.kernels)
          .tables.filter(({ shardable }) => shardable === true)
          .map((table) => table.checkpointKey),
      );
      for (const name of model.signatures.keys()) {
        const cut = (table: { checkpointKey: string }) => (tables.has(table.checkpointKey) ? "always" : "never");
        const plan = planSignature(model, name, { ...options, cut });
        if (plan.unsupported.length > 0) continue;
        assertRunnable(plan);
        const isTable = (key: string) => tables.has(key);
        const whole = plan.steps.flatMap((step) =>
          step.kind === "lookup" ? [] : [...step.variables.values()].filter(isTable),
        );
        assert.deepEqual(whole, [], `${dir}: no step reads a sharded table whole`);
      }
    }
  });

  it("give kernels and lowerings the types of every input", async function () {
    needSharedModels(this);
    for (const dir of dirs) {
      const model = await loadModelGraph(dir);
      for (const [name, program] of model.programs) {
        const inference = infer(program);
        for (const node of inference.order) {
          // A custom op; a loop, whose values run in circles.
          if (dir.includes("custom-op") || dir.includes("needs-iterator")) continue;
          assert.ok(contextOf(node, inference, program), `${dir} ${name} ${node.name} (${node.op})`);
        }
      }
    }
  });

  const expected: Readonly<Record<string, string>> = {
    "zoo/rec-bruteforce-top10": "host, lookup 1, device, host",
    "zoo/rec-movielens-multitask": "host, lookup 2, device",
    "zoo/rec-ncf-dot": "host, lookup 2, device",
    "zoo/rec-context-aware-bucketize-text": "host, lookup 4, device",
    "zoo/rec-user-history-textvec": "host, lookup 1, device",
    "zoo/text-sms-phishing-embedding": "host, lookup 1, device",
    "zoo/tabular-titanic-mlp": "device",
    "zoo/vision-ocr-conv": "device",
    "zoo/featcol-babyweight-wide-deep-tf113": "host, device",
  };

  for (const [model, steps] of Object.entries(expected)) {
    it(`${model} runs as ${steps}`, async function () {
      const graph = await loadModelGraph(join(needSharedModels(this), model));
      const plan = planSignature(graph, [...graph.signatures.keys()].at(-1)!, options);
      assert.deepEqual(plan.unsupported, []);
      assert.equal(stepsOf(plan), steps);
    });
  }

  it("every embedding of the fixtures is a shardable table with its own name", async () => {
    const tablesOf = async (name: string) =>
      findTables(await loadModelGraph(join(FIXTURE_MODELS, name, "1")), options.kernels).tables;
    for (const name of ["dlrm", "wide-deep"]) {
      const tables = await tablesOf(name);
      assert.ok(tables.length > 1, relative(FIXTURE_MODELS, name));
      assert.equal(new Set(tables.map((table) => table.name)).size, tables.length);
      assert.deepEqual(new Set(tables.map(({ shardable }) => shardable)), new Set([true]));
    }
  });

  it("a counter keeps its variable on the host, and every signature writes or reads it", async function () {
    const dir = join(needSharedModels(this), "tf-serving", "saved_model_counter", "00000123");
    const model: ModelGraph = await loadModelGraph(dir);
    for (const name of model.signatures.keys()) {
      const plan = planSignature(model, name, options);
      assert.deepEqual([stepsOf(plan), ...plan.mutableVariables], ["host", ["counter", "counter"]]);
    }
  });
});
