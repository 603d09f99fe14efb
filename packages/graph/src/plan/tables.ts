import { DTYPES, elementCount } from "@shardserve/tensor";
import type { ModelGraph } from "../import/model.js";
import type { KernelTable } from "../ir/host.js";
import type { GraphNode } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { compile, type Compiled } from "../passes/compile.js";
import { findVariableUses } from "../passes/lookups/lookups.js";
import type { PlannedTable } from "./plan.js";

/** A variable that some signature looks rows up in, over all signatures of a MetaGraph. */
export interface FoundTable extends PlannedTable {
  /** Size of all rows as stored. */
  readonly bytes: number;
  readonly lookups: readonly { readonly signature: string; readonly node: string }[];
  /** true, or why its rows cannot leave the graph. */
  readonly shardable: true | string;
}

/** The table that a `Variable` node reads, or why it is none. */
export function tableOf(model: ModelGraph, variable: GraphNode): PlannedTable | string {
  const table = tableOfKey(model, variable.attrs.text("checkpointKey"));
  if (!table) return "it is a scalar";
  if (variable.attrs.has("sliceStart")) {
    const part = variable.attrs.ints("sliceLength");
    if (table.rowShape.some((dim, i) => part[i + 1] !== dim)) return "it is partitioned along its columns";
  }
  return table;
}

/** A checkpoint tensor as a table; undefined for a scalar. */
function tableOfKey(model: ModelGraph, checkpointKey: string): PlannedTable | undefined {
  const entry = model.variables.entries.get(checkpointKey);
  const [rows, ...rowShape] = entry?.shape ?? [];
  if (!entry || rows === undefined) return undefined;
  return { checkpointKey, name: model.names.get(checkpointKey) ?? checkpointKey, dtype: entry.dtype, rows, rowShape };
}

/** Checkpoint keys of host-state variables that are gathered from -> name of one such gather. */
function writtenTables(model: ModelGraph, program: Program): Map<string, string> {
  const written = new Map<string, string>();
  for (const node of program.graph.values()) {
    const read = node.inputs[0] && program.graph.get(node.inputs[0].node);
    if (!/^Gather(V2|Nd)?$/.test(node.op) || read?.op !== "ReadVariableOp") continue;
    const handle = program.graph.get(read.inputs[0]!.node);
    const variable =
      handle &&
      [...model.variables.bindings].find(([name]) => name === handle.name || `${name}/handle` === handle.name);
    if (variable) written.set(variable[1].checkpointKey, node.name);
  }
  return written;
}

/** A compiled program and all regions inside it. */
function* compiledWithin(compiled: Compiled): Generator<Compiled, void> {
  yield compiled;
  for (const regions of compiled.regions.values()) for (const region of regions) yield* compiledWithin(region);
}

/**
 * Finds the tables of a model: every frozen variable that a serving signature gathers rows of. A table is shardable when
 * all uses in all signatures are such gathers.
 *
 * @returns the tables; and of any variable, by checkpoint key, what needs it whole, if something does
 */
export function findTables(
  model: ModelGraph,
  kernels: KernelTable,
): { readonly tables: readonly FoundTable[]; readonly whole: ReadonlyMap<string, string> } {
  const found = new Map<string, { table: PlannedTable; lookups: { signature: string; node: string }[] }>();
  const whole = new Map<string, string>();
  const collect = (signature: string, { program, inference }: Compiled): void => {
    const uses = findVariableUses(program, inference);
    for (const [node, why] of uses.whole) {
      const key = program.graph.get(node)!.attrs.text("checkpointKey");
      if (!whole.has(key)) whole.set(key, `${why} (signature "${signature}")`);
    }
    for (const [key, lookup] of writtenTables(model, program)) {
      const table = tableOfKey(model, key);
      if (!table) continue;
      const entry = found.get(key) ?? { table, lookups: [] };
      entry.lookups.push({ signature, node: lookup });
      found.set(key, entry);
      whole.set(key, "serving writes it");
    }
    for (const lookup of uses.lookups) {
      const variable = program.graph.get(lookup.variable)!;
      const key = variable.attrs.text("checkpointKey");
      const table = tableOf(model, variable);
      if (typeof table === "string") {
        whole.set(key, table);
        continue;
      }
      const entry = found.get(key) ?? { table, lookups: [] };
      entry.lookups.push({ signature, node: lookup.gather.name });
      found.set(key, entry);
    }
  };
  for (const [signature, source] of model.programs) {
    for (const compiled of compiledWithin(compile(model, source, kernels))) collect(signature, compiled);
  }
  const tables = [...found.entries()].map(([key, { table, lookups }]) => ({
    ...table,
    bytes: table.rows * elementCount(table.rowShape) * DTYPES[table.dtype].bytes,
    lookups,
    shardable: whole.get(key) ?? (true as const),
  }));
  return { tables, whole };
}
