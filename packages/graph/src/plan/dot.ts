import { refKey, type TensorRef } from "../ir/ir.js";
import type { SignaturePlan, Step } from "./plan.js";
import { formatType } from "./report.js";

/** Ops of a segment that its box names; the rest are counted. */
const OPS_SHOWN = 4;

const COLOURS = { host: "#fff3c4", lookup: "#d3f0d3", device: "#d6e4ff" } as const;

/** Plans as one Graphviz graph: a cluster a signature, a box a segment, an edge for the values that go from one to another. */
export function formatDot(plans: readonly SignaturePlan[]): string {
  const lines = ["digraph model {", '  rankdir=LR; node [shape=box, style="filled,rounded", fontname=Helvetica];'];
  for (const [i, plan] of plans.entries()) lines.push(...clusterOf(plan, `s${i}`));
  lines.push("}");
  return `${lines.join("\n")}\n`;
}

function clusterOf(plan: SignaturePlan, id: string): string[] {
  const lines = [`  subgraph cluster_${id} {`, `    label=${quoted(plan.signature)};`];
  const makers = new Map<string, string>();
  const edges = new Map<string, number>();
  const read = (ref: TensorRef, by: string): void => {
    const maker = makers.get(refKey(ref));
    if (maker === undefined || maker === by) return;
    const edge = `    ${maker} -> ${by}`;
    edges.set(edge, (edges.get(edge) ?? 0) + 1);
  };
  const box = (name: string, label: string, style: string): void => {
    lines.push(`    ${name} [label=${quoted(label)}, ${style}];`);
  };
  for (const [i, { alias, ref, dtype, assumedShape }] of plan.inputs.entries()) {
    makers.set(refKey(ref), `${id}_in${i}`);
    box(`${id}_in${i}`, `${alias}\n${formatType(dtype, assumedShape)}`, "shape=ellipse, fillcolor=white");
  }
  for (const [i, step] of plan.steps.entries()) {
    const name = `${id}_step${i}`;
    box(name, labelOf(step, i, plan), `fillcolor="${COLOURS[step.kind]}"`);
    const reads = step.kind === "lookup" ? step.lookups.map(({ ids }) => ids) : step.inputs;
    const made = step.kind === "lookup" ? step.lookups.flatMap(({ rows, slots }) => [rows, slots]) : step.outputs;
    for (const ref of reads) read(ref, name);
    for (const ref of made) makers.set(refKey(ref), name);
  }
  for (const [i, { node, op, why }] of plan.unsupported.entries()) {
    box(`${id}_missing${i}`, `${op} ${node}\n${why}`, 'fillcolor="#ffd6d6"');
  }
  for (const [i, { alias, ref, dtype }] of plan.outputs.entries()) {
    const type = formatType(dtype, plan.infos.get(refKey(ref))?.shape);
    box(`${id}_out${i}`, `${alias}\n${type}`, "shape=ellipse, fillcolor=white");
    read(ref, `${id}_out${i}`);
  }
  for (const [edge, count] of edges) lines.push(count === 1 ? `${edge};` : `${edge} [label="${count} values"];`);
  lines.push("  }");
  return lines;
}

function labelOf(step: Step, index: number, { tables }: SignaturePlan): string {
  if (step.kind === "lookup") {
    const names = new Map(tables.map(({ checkpointKey, name }) => [checkpointKey, name]));
    return [`${index + 1}. lookup`, ...step.lookups.map(({ checkpointKey }) => names.get(checkpointKey))].join("\n");
  }
  const counts = new Map<string, number>();
  for (const { op } of step.nodes) if (op !== "Const" && op !== "Variable") counts.set(op, (counts.get(op) ?? 0) + 1);
  const ops = [...counts].sort((a, b) => b[1] - a[1]);
  const shown = ops.slice(0, OPS_SHOWN).map(([op, count]) => (count === 1 ? op : `${op} x ${count}`));
  const rest = ops.length - shown.length;
  return [`${index + 1}. ${step.kind}`, ...shown, ...(rest > 0 ? [`and ${rest} other ops`] : [])].join("\n");
}

/** A quoted string of the DOT language; "\n" breaks lines. */
function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
