import { DTYPES, type DType, elementCount } from "@shardserve/tensor";
import type { ModelGraph } from "../import/model.js";
import type { Shape } from "../ir/attrs.js";
import { type Graph, type GraphNode, outputKey, refKey, type TensorRef } from "../ir/ir.js";
import { plansWithin, type SignaturePlan, type Step } from "./plan.js";
import { type PlanOptions, planSignature } from "./plan-signature.js";
import { findTables, type FoundTable } from "./tables.js";

/** A checkpoint tensor that the graph has a variable for. */
export interface ReportedVariable {
  readonly name: string;
  readonly checkpointKey: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Size as stored; 0 for strings. */
  readonly bytes: number;
  /** `table`: rows are looked up; `dense`: read whole; `mutable`: written while serving; `unused`: no signature reads it. */
  readonly role: "table" | "dense" | "mutable" | "unused";
}

/** What `inspect` shows of a model: every signature planned, every variable with its part. */
export interface ModelReport {
  readonly plans: readonly SignaturePlan[];
  /** Signatures that cannot be read -> why. */
  readonly broken: ReadonlyMap<string, string>;
  readonly tables: readonly FoundTable[];
  readonly variables: readonly ReportedVariable[];
}

/** Plans every signature of a model and tells what its variables are for. */
export function reportModel(model: ModelGraph, options: PlanOptions): ModelReport {
  const plans = [...model.signatures.keys()].map((name) => planSignature(model, name, options));
  const { tables } = findTables(model, options.kernels);
  const tableKeys = new Set(tables.map(({ checkpointKey }) => checkpointKey));
  const read = new Set<string>();
  const mutable = new Set<string>();
  for (const plan of plans.flatMap((whole) => [...plansWithin(whole)])) {
    for (const node of nodesWithin(plan.graph)) {
      if (node.op === "Variable") read.add(node.attrs.text("checkpointKey"));
    }
    for (const key of plan.mutableVariables.values()) if (key !== undefined) mutable.add(key);
  }
  const roleOf = (key: string): ReportedVariable["role"] => {
    if (mutable.has(key)) return "mutable";
    if (tableKeys.has(key)) return "table";
    return read.has(key) ? "dense" : "unused";
  };
  const variables = [...model.names].flatMap(([checkpointKey, name]): ReportedVariable[] => {
    const entry = model.variables.entries.get(checkpointKey);
    if (!entry) return [];
    const { dtype, shape } = entry;
    const bytes = elementCount(shape) * DTYPES[dtype].bytes;
    return [{ name, checkpointKey, dtype, shape, bytes, role: roleOf(checkpointKey) }];
  });
  return { plans, broken: model.broken, tables, variables };
}

/** Nodes of a graph and of the regions in it. */
function* nodesWithin(graph: Graph): Generator<GraphNode, void> {
  for (const node of graph.values()) {
    yield node;
    for (const region of node.regions ?? []) yield* nodesWithin(region.graph);
  }
}

/** "float32[?,8]", "int64[...]" for an unknown rank. */
export function formatType(dtype: DType, shape: Shape): string {
  return `${dtype}[${shape ? shape.map((dim) => (dim === -1 ? "?" : dim)).join(",") : "..."}]`;
}

/** A plan as text, one node a line: what golden tests hold and `inspect --graph` prints. */
export function formatPlan(plan: SignaturePlan): string {
  const lines = [`signature ${plan.signature} ${plan.method}`.trimEnd()];
  for (const { alias, ref, dtype, assumedShape } of plan.inputs) {
    lines.push(`input ${alias} = ${refKey(ref)} ${formatType(dtype, assumedShape)}`);
  }
  for (const { alias, ref, dtype } of plan.outputs) {
    lines.push(`output ${alias} = ${refKey(ref)} ${formatType(dtype, plan.infos.get(refKey(ref))?.shape)}`);
  }
  for (const { checkpointKey, rows, rowShape, dtype } of plan.tables) {
    lines.push(`table ${checkpointKey} ${formatType(dtype, [rows, ...rowShape])}`);
  }
  for (const [key, checkpointKey] of plan.mutableVariables)
    lines.push(`mutable ${key} from ${checkpointKey ?? "nothing"}`);
  for (const { node, op, why } of plan.unsupported) lines.push(`unsupported ${op} ${node}: ${why}`);
  for (const { node, where, why } of plan.placements) if (where === "dropped") lines.push(`dropped ${node}: ${why}`);
  for (const step of plan.steps) lines.push(...formatStep(step, plan));
  for (const { regions } of plan.controls.values()) {
    for (const region of regions) lines.push("", formatPlan(region).trimEnd());
  }
  return `${lines.join("\n")}\n`;
}

function formatStep(step: Step, plan: SignaturePlan): string[] {
  if (step.kind === "lookup") {
    return [
      "lookup",
      ...step.lookups.map(({ node, checkpointKey, ids, rowOffset, rowCount }) => {
        const range = rowOffset === 0 ? "" : ` from row ${rowOffset}`;
        return `  ${node} = ${checkpointKey}[${refKey(ids)}]${range} of ${rowCount}`;
      }),
    ];
  }
  const nodes = step.nodes.map((node) => {
    const info = plan.infos.get(outputKey(node.name));
    const type = info ? ` ${formatType(info.dtype, info.shape)}` : "";
    const controls = node.controls.map((name) => ` ^${name}`).join("");
    return `  ${node.name} = ${node.op}(${node.inputs.map(refKey).join(", ")})${controls}${type}`;
  });
  const list = (refs: readonly TensorRef[]): string => refs.map(refKey).join(", ");
  return [`${step.kind} ${step.id} (${list(step.inputs)}) -> (${list(step.outputs)})`, ...nodes];
}
