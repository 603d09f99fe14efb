import type { EnginePlan } from "@shardserve/engine";
import type { FoundTable, ReportedVariable, SignaturePlan } from "@shardserve/graph";
import type { MemoryPlan } from "@shardserve/servable";
import { amount, table } from "../terminal.js";
import { memoryText } from "./memory-text.js";
import { tablesText } from "./tables-text.js";

/** What inspect shows of one signature. */
export interface SignatureReport {
  readonly signature: string;
  readonly method: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Steps in order, with the ops that each runs and the bytes of the variables that it reads whole. */
  readonly steps: readonly {
    readonly kind: string;
    readonly ops: Readonly<Record<string, number>>;
    readonly variableBytes: number;
  }[];
  readonly lookups: readonly { readonly node: string; readonly table: string }[];
  /** Why the signature cannot be served; empty = it can. */
  readonly unsupported: readonly string[];
}

/** What inspect shows of a SavedModel; with --json as it stands. */
export interface ModelReport {
  readonly dir: string;
  readonly tagSets: readonly (readonly string[])[];
  readonly engine: EnginePlan["engine"];
  readonly memory: MemoryPlan & { readonly totalBytes: number };
  readonly signatures: readonly SignatureReport[];
  readonly tables: readonly FoundTable[];
  readonly variables: readonly ReportedVariable[];
  /** With --nodes: where each node runs, and why. */
  readonly placements?: readonly Pick<SignaturePlan, "signature" | "placements">[];
}

type Print = (line: string) => void;

/** Prints a report for people. */
export function printModel(report: ModelReport, tensorflowVersion: string, chosen: EnginePlan, print: Print): void {
  const { dir, memory, signatures, tables, variables } = report;
  const tags = report.tagSets.map((set) => `{${set.join(", ")}}`);
  print(`${dir}: TensorFlow ${tensorflowVersion}, tag sets ${tags.join(" ")}`);
  const bytes = variables.reduce((sum, variable) => sum + variable.bytes, 0);
  print(`${variables.length} variables, ${amount(bytes, "bytes")}${rolesOf(variables)}`);
  print(memoryText(memory));
  printEngine(chosen, print);
  printTables(tables, print);
  for (const signature of signatures) printSignature(signature, print);
  for (const { signature, placements } of report.placements ?? []) {
    print(`\nnodes of ${signature}:`);
    print(table(placements.map(({ node, op, where, why }) => [`  ${node}`, op, where, why])));
  }
}

/** "; 1.2 MB looked up by row, 40 kB read whole". */
function rolesOf(variables: readonly ReportedVariable[]): string {
  const words = { table: "looked up by row", dense: "read whole", mutable: "written", unused: "not read" } as const;
  const parts = Object.entries(words).flatMap(([role, text]) => {
    const bytes = variables.filter((variable) => variable.role === role).reduce((sum, item) => sum + item.bytes, 0);
    return bytes === 0 ? [] : [`${amount(bytes, "bytes")} ${text}`];
  });
  return parts.length === 0 ? "" : `: ${parts.join(", ")}`;
}

function printEngine({ engine, broken }: EnginePlan, print: Print): void {
  const { form, library, device, why: reason } = engine;
  const manner = form === "whole" ? "each signature as one run" : "in segments, as below";
  print(`would be served on ${library} (${device}), ${manner}: ${reason}`);
  for (const [signature, why] of broken) print(`  but not ${signature}: ${why}`);
}

function printTables(tables: readonly FoundTable[], print: Print): void {
  if (tables.length === 0) return print("no table is looked up");
  print(`${tables.length} tables are looked up:`);
  print(tablesText(tables));
}

function printSignature(report: SignatureReport, print: Print): void {
  print(`\nsignature ${report.signature} (${report.method || "no method"})`);
  print(`  in   ${report.inputs.join(", ") || "nothing"}`);
  print(`  out  ${report.outputs.join(", ") || "nothing"}`);
  for (const [i, { kind, ops, variableBytes }] of report.steps.entries()) {
    const names = Object.entries(ops).map(([op, count]) => (count === 1 ? op : `${op} x ${count}`));
    const weights = variableBytes === 0 ? "" : ` (${amount(variableBytes, "bytes")} of variables)`;
    print(`  ${i + 1}. ${kind.padEnd(7)}${names.join(", ")}${weights}`);
  }
  if (report.unsupported.length > 0) print("  cannot be served here:");
  for (const text of report.unsupported) print(`    ${text}`);
}
