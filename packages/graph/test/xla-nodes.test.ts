import assert from "node:assert/strict";
import { join } from "node:path";
import { create, type MetaGraphDef, MetaGraphDefSchema, type NodeDef } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { attr, readSavedModel } from "@shardserve/savedmodel";
import { REPO_DIR } from "@shardserve/testkit";
import fc from "fast-check";
import { importModel } from "../src/import/model.js";
import { planSignature, type PlanOptions } from "../src/plan/plan-signature.js";
import type { SignaturePlan } from "../src/plan/plan.js";
import { readDimensionNumbers } from "../src/xla/dimension-numbers.js";
import { fakeDevice, fakeKernels } from "./fakes.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

async function metaGraphOf(name: string): Promise<MetaGraphDef> {
  const { message } = await readSavedModel(join(REPO_DIR, "test/fixtures/strangers", name, "1"));
  return message.metaGraphs[0]!;
}

/** The meta graph with each node of functions as `change` makes it. */
function withNodes(metaGraph: MetaGraphDef, change: (node: NodeDef) => NodeDef): MetaGraphDef {
  const graphDef = metaGraph.graphDef!;
  const { library } = graphDef;
  const functions = library!.function.map((def) => ({ ...def, nodeDef: def.nodeDef.map(change) }));
  return create(MetaGraphDefSchema, {
    ...metaGraph,
    graphDef: { ...graphDef, library: Object.assign({}, library, { function: functions }) },
  });
}

function planOf(metaGraph: MetaGraphDef, signature = "serving_default"): SignaturePlan {
  const model = importModel(metaGraph, { bindings: new Map(), entries: new Map() });
  const device = fakeDevice(
    "XlaConvV2 XlaDotV2 XlaGather XlaScatter XlaReduceWindow XlaVariadicReduceV2 XlaVariadicSort",
  );
  const options: PlanOptions = { kernels: fakeKernels(), device };
  return planSignature(model, signature, options);
}

function reasons({ unsupported }: SignaturePlan): string {
  return unsupported.map(({ op, why }) => `${op}: ${why}`).join("\n");
}

describe("nodes that stand for ops of XLA", function () {
  this.timeout(FUZZ_MS * 8 + 60_000);

  it("become ops of TensorFlow, with the functions of their loops", async () => {
    for (const name of ["cnn-batch-norm", "reductions", "sorts-and-scatters", "transformer"]) {
      const { graph } = planOf(await metaGraphOf(`jax-graph-${name}`));
      const left = [...graph.values()].map(({ op }) => op).filter((op) => /^Xla(?!Dynamic)/.test(op));
      assert.deepEqual(left, [], name);
    }
  });

  it("a computation of more than scalars is refused, and names the function and the op", async () => {
    const metaGraph = withNodes(await metaGraphOf("jax-graph-reductions"), (node) =>
      node.op === "Maximum" ? { ...node, op: "Xdivy" } : node,
    );
    assert.match(reasons(planOf(metaGraph)), /XlaVariadicReduceV2: its function "\S+" has an op Xdivy/);
  });

  it("dimension numbers that no tensor has are refused, by node", async () => {
    const graphs = { XlaConvV2: "cnn-batch-norm", XlaDotV2: "transformer", XlaGather: "two-towers" };
    const numbers = attr.text(String.fromCharCode(3 << 3, 99));
    for (const [op, name] of Object.entries(graphs)) {
      const metaGraph = withNodes(await metaGraphOf(`jax-graph-${name}`), (node) =>
        node.op === op ? { ...node, attr: { ...node.attr, dimension_numbers: numbers } } : node,
      );
      const { unsupported } = planOf(metaGraph);
      const whys = new Set(unsupported.filter((node) => node.op === op).map(({ why }) => why));
      assert.deepEqual([...whys], ["its dimension numbers: there is no dimension 99"], op);
    }
  });

  it("changed bytes and numbers give a plan or a ServingError, never a crash or a hang", async () => {
    const names = ["cnn-batch-norm", "reductions", "sorts-and-scatters", "two-towers"];
    const graphs = await Promise.all(names.map((name) => metaGraphOf(`jax-graph-${name}`)));
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), value: fc.nat(255) });
    const changed = (node: NodeDef, { at, value }: { at: number; value: number }): NodeDef => {
      const numbers = node.attr["dimension_numbers"]?.value;
      if (numbers?.case !== "s" || numbers.value.length === 0) return node;
      const bytes = numbers.value.slice();
      bytes[Math.floor(at * bytes.length)] = value;
      const given = { ...node.attr["dimension_numbers"]!, value: { case: "s" as const, value: bytes } };
      return { ...node, attr: { ...node.attr, dimension_numbers: given } };
    };
    fc.assert(
      fc.property(fc.constantFrom(...graphs), change, (metaGraph, what) => {
        try {
          planOf(withNodes(metaGraph, (node) => changed(node, what)));
        } catch (error) {
          if (!(error instanceof ServingError)) throw error;
        }
      }),
      { interruptAfterTimeLimit: FUZZ_MS * 8, numRuns: 1_000_000 },
    );
  });
});

describe("dimension numbers", () => {
  it("are read packed and one by one; what they leave out is 0, or no dimension", () => {
    const packed = readDimensionNumbers("DOT", Uint8Array.of((1 << 3) | 2, 2, 1, 2, (3 << 3) | 2, 1, 0));
    assert.deepEqual(packed.lists["lhs_contracting_dimensions"], [1, 2]);
    assert.deepEqual(packed.lists["lhs_batching_dimensions"], [0]);
    assert.deepEqual(packed.lists["rhs_batching_dimensions"], []);
    const single = readDimensionNumbers("GATHER", Uint8Array.of(1 << 3, 1, 1 << 3, 2, 4 << 3, 1, 9 << 3, 7));
    assert.deepEqual(single.lists["offset_dims"], [1, 2]);
    assert.equal(single.numbers["index_vector_dim"], 1);
    assert.equal(readDimensionNumbers("SCATTER", new Uint8Array()).numbers["index_vector_dim"], 0);
  });

  it("bytes that end early, and negative dimensions, are refused", () => {
    assert.throws(() => readDimensionNumbers("DOT", Uint8Array.of((1 << 3) | 2, 9, 1)), /dimension numbers/);
    const negative = Uint8Array.of(4 << 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1);
    assert.throws(() => readDimensionNumbers("GATHER", negative), /there is no dimension/);
  });
});
