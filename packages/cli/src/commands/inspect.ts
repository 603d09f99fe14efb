import { ServingError } from "@shardserve/core";
import { chooseEngine } from "@shardserve/engine";
import { refuseExported } from "@shardserve/exporter";
import { formatDot, type ModelGraph, openModel, reportModel, type SignaturePlan } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { deviceSupports, hasOnnxModel } from "@shardserve/onnx";
import { planMemory, totalBytes } from "@shardserve/servable";
import { tagSets } from "@shardserve/savedmodel";
import { DTYPES, elementCount } from "@shardserve/tensor";
import { defineCommand, type Terminal } from "../command.js";
import { flag, type FlagValues } from "../flags.js";
import { ENGINE_FLAGS, openEngines } from "../roles/serving/engines.js";
import { MODEL_SOURCE_FLAGS, withModelDirectory } from "../roles/versions/model-directory.js";
import { inspectOnnx } from "./inspect-onnx.js";
import { type ModelReport, printModel, type SignatureReport } from "./inspect-text.js";

const INSPECT_FLAGS = {
  savedModelTags: flag.list("tags of the meta graph", "TAGS", ["serve"]),
  ...ENGINE_FLAGS,
  nodes: flag.bool("also list every node with the place where it runs and why"),
  dot: flag.bool("print the segments of every signature as a Graphviz graph, for dot -Tsvg"),
  json: flag.bool("print everything as JSON"),
  ...MODEL_SOURCE_FLAGS,
};

export const inspect = defineCommand({
  name: "inspect",
  summary:
    "Shows a SavedModel or an ONNX model: signatures, variables, tables and lookups, and where each op would run",
  usage: "MODEL_DIR",
  examples: [
    "shardserve inspect models/dlrm/1",
    "shardserve inspect models/dlrm/1 --json",
    "shardserve inspect s3://bucket/models/dlrm/1",
    "shardserve inspect models/dlrm/1 --dot | dot -Tsvg > dlrm.svg",
  ],
  flags: INSPECT_FLAGS,
  async run([dir, ...rest], flags, terminal) {
    if (dir === undefined || rest.length > 0)
      throw new ServingError(
        "CONFIG_INVALID",
        "inspect: give one SavedModel directory, or one of an ONNX model; see --help",
      );
    await withModelDirectory(dir, flags, terminal, (found) => show(found, flags, terminal));
  },
});

async function show(dir: string, flags: Readonly<FlagValues<typeof INSPECT_FLAGS>>, terminal: Terminal): Promise<void> {
  await refuseExported(dir);
  if (await hasOnnxModel(dir)) {
    if (flags.dot || flags.nodes)
      throw new ServingError(
        "CONFIG_INVALID",
        "inspect: an ONNX model has no --dot and no --nodes; it runs on ONNX Runtime",
      );
    return inspectOnnx(dir, flags.json, terminal);
  }
  const engines = await openEngines(flags, terminal.environment, terminal.logger);
  await using opened = await openModel(dir, { tags: flags.savedModelTags, signal: terminal.signal });
  const { savedModel, metaGraph, model } = opened;
  const report = reportModel(model, { kernels: hostKernels, device: { supports: deviceSupports } });
  const plans = [...report.plans].sort((a, b) => (a.signature < b.signature ? -1 : 1));
  const { tables, variables } = report;
  if (flags.dot) return terminal.print(formatDot(plans).trimEnd());
  const chosen = await chooseEngine({ ...engines, dir, tags: flags.savedModelTags, signal: terminal.signal });
  const memory = await planMemory(dir);
  const found: ModelReport = {
    dir,
    tagSets: tagSets(savedModel),
    engine: chosen.engine,
    memory: { ...memory, totalBytes: totalBytes(memory) },
    signatures: [...plans.map(describeSignature(model)), ...brokenSignatures(model)],
    tables,
    variables,
    ...(flags.nodes && { placements: plans.map(({ signature, placements }) => ({ signature, placements })) }),
  };
  if (flags.json) return terminal.print(JSON.stringify(found, undefined, 2));
  printModel(found, metaGraph.metaInfoDef?.tensorflowVersion || "of unknown version", chosen, terminal.print);
}

function describeSignature(model: ModelGraph): (plan: SignaturePlan) => SignatureReport {
  const shown = (tensors: SignaturePlan["inputs"] | SignaturePlan["outputs"]) =>
    tensors.map(
      ({ alias, dtype, shape }) =>
        `${alias}: ${dtype}${shape ? `[${shape.map((dim) => (dim < 0 ? "?" : dim)).join(",")}]` : "[...]"}`,
    );
  return (plan) => ({
    signature: plan.signature,
    method: plan.method,
    inputs: shown(plan.inputs),
    outputs: shown(plan.outputs),
    steps: plan.steps.map((step) => ({
      kind: step.kind,
      ops: step.kind === "lookup" ? { lookup: step.lookups.length } : countOps(step.nodes.map(({ op }) => op)),
      variableBytes: step.kind === "lookup" ? 0 : bytesOf([...step.variables.values()], model),
    })),
    lookups: plan.lookups.map(({ node, checkpointKey }) => ({
      node,
      table: model.names.get(checkpointKey) ?? checkpointKey,
    })),
    unsupported: plan.unsupported.map(({ op, node, why }) => `${op} "${node}": ${why}`),
  });
}

function bytesOf(checkpointKeys: readonly string[], model: ModelGraph): number {
  return checkpointKeys.reduce((sum, key) => {
    const entry = model.variables.entries.get(key);
    return sum + (entry ? elementCount(entry.shape) * DTYPES[entry.dtype].bytes : 0);
  }, 0);
}

function brokenSignatures(model: ModelGraph): SignatureReport[] {
  return [...model.broken].map(([signature, why]) => ({
    signature,
    method: "",
    inputs: [],
    outputs: [],
    steps: [],
    lookups: [],
    unsupported: [why],
  }));
}

/** Most frequent first; constants and variables are data, not work. */
function countOps(ops: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const op of ops) if (op !== "Const" && op !== "Variable") counts.set(op, (counts.get(op) ?? 0) + 1);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
}
