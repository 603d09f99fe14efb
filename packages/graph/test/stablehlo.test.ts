import assert from "node:assert/strict";
import { join } from "node:path";
import { create, type MetaGraphDef, MetaGraphDefSchema, type NodeDef } from "@shardserve/api";
import { readSavedModel } from "@shardserve/savedmodel";
import { REPO_DIR } from "@shardserve/testkit";
import fc from "fast-check";
import { importModel, type ModelGraph } from "../src/import/model.js";
import { planSignature } from "../src/plan/plan-signature.js";
import { fakeDevice, fakeKernels } from "./fakes.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

async function metaGraphOf(name: string): Promise<MetaGraphDef> {
  const { message } = await readSavedModel(join(REPO_DIR, "test/fixtures/strangers", name, "1"));
  return message.metaGraphs[0]!;
}

/** The meta graph with the modules that `change` makes of its own. */
function withModules(metaGraph: MetaGraphDef, change: (module: Uint8Array, node: NodeDef) => NodeDef): MetaGraphDef {
  const changed = (node: NodeDef): NodeDef =>
    node.op === "XlaCallModule" ? change(node.attr["module"]!.value.value as Uint8Array, node) : node;
  const graphDef = metaGraph.graphDef!;
  const functions = graphDef.library!.function.map((def) => ({ ...def, nodeDef: def.nodeDef.map(changed) }));
  return create(MetaGraphDefSchema, {
    ...metaGraph,
    graphDef: { ...graphDef, library: { ...graphDef.library!, function: functions } },
  });
}

function withBytes(node: NodeDef, name: string, value: NodeDef["attr"][string]["value"]): NodeDef {
  return { ...node, attr: { ...node.attr, [name]: { ...node.attr["version"]!, value } } };
}

function renamed(module: Uint8Array, from: string, to: string): Uint8Array {
  return Uint8Array.from(Buffer.from(Buffer.from(module).toString("latin1").replaceAll(from, to), "latin1"));
}

function importOf(metaGraph: MetaGraphDef): ModelGraph {
  return importModel(metaGraph, { bindings: new Map(), entries: new Map() });
}

function opsOf(model: ModelGraph, signature: string): string[] {
  return [...model.programs.get(signature)!.graph.values()].map(({ op }) => op);
}

/** Why a plan has no steps. */
function obstacle(model: ModelGraph, name: string): string {
  const { unsupported } = planSignature(model, name, { kernels: fakeKernels(), device: fakeDevice("XlaCallModule") });
  const [why] = unsupported.filter(({ op }) => op === "XlaCallModule");
  return why ? `signature "${why.signature}": ${why.why}` : "";
}

describe("XlaCallModule", function () {
  this.timeout(FUZZ_MS * 8 + 60_000);
  let mlp: MetaGraphDef;
  before(async () => {
    mlp = await metaGraphOf("jax-mlp");
  });

  it("becomes ops of TensorFlow, and a bias is added without being spread", () => {
    const ops = opsOf(importOf(mlp), "fixed");
    assert.ok(ops.includes("MatMul") && ops.includes("AddV2"));
    assert.ok(!ops.includes("XlaCallModule"));
    const model = importOf(mlp);
    const { graph } = model.programs.get("fixed")!;
    const added = [...graph.values()].filter(({ op }) => op === "AddV2").flatMap(({ inputs }) => inputs);
    assert.ok(added.every((ref) => graph.get(ref.node)?.op !== "BroadcastTo"));
  });

  it("a row of each turn is a gather, where JAX clamps a slice over a batch of any size", async () => {
    const { library } = importOf(await metaGraphOf("jax-recurrent"));
    const bodies = Array.from(library)
      .filter(([name]) => name.includes("//region"))
      .map(([, { nodeDef }]) => nodeDef);
    const rows = bodies.filter((nodes) => nodes.some(({ op }) => op === "GatherV2"));
    assert.equal(rows.length, 2, "one for the LSTM, one for the GRU");
    assert.ok(bodies.every((nodes) => nodes.every(({ op }) => op !== "StridedSlice")));
  });

  it("an op that is not supported fails the signatures that need it, and names op and function", () => {
    const model = importOf(
      withModules(mlp, (module, node) =>
        withBytes(node, "module", { case: "s", value: renamed(module, "dot_general_v", "dot_unknown_v") }),
      ),
    );
    assert.match(
      obstacle(model, "fixed"),
      /signature "fixed".*stablehlo\.dot_unknown is not supported \(in function "main"\)/,
    );
  });

  it("a version that TensorFlow does not take, and a module for other platforms, are refused", () => {
    const old = importOf(withModules(mlp, (_, node) => withBytes(node, "version", { case: "i", value: 4n })));
    assert.match(obstacle(old, "fixed"), /its version is 4/);
    const tpu = importOf(
      withModules(mlp, (_, node) =>
        withBytes(node, "platforms", {
          case: "list",
          value: { ...(node.attr["platforms"]!.value.value as object), s: [Buffer.from("TPU")] } as never,
        }),
      ),
    );
    assert.match(obstacle(tpu, "fixed"), /made for TPU, not for CPU/);
  });

  it("changed bytes give a plan or a ServingError, never a crash or a hang", async () => {
    const names = "mlp recurrent arrays cnn-batch-norm reductions scans sorts-and-scatters linear-algebra".split(" ");
    const graphs = await Promise.all(names.map((name) => `jax-${name}`).map(metaGraphOf));
    const change = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), value: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.constantFrom(...graphs),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        (metaGraph, changes) => {
          const model = importOf(
            withModules(metaGraph, (module, node) => {
              const bytes = module.slice();
              for (const { at, value } of changes) bytes[Math.floor(at * bytes.length)] = value;
              return withBytes(node, "module", { case: "s", value: bytes });
            }),
          );
          assert.ok(model.signatures.size > 0);
        },
      ),
      { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_MS, markInterruptAsFailure: false },
    );
  });
});
