import type { GraphNode } from "./ir.js";
import { compile } from "./compile.js";
import type { KernelTable } from "./host.js";
import { findVariableUses } from "./lookups.js";
import type { ModelGraph } from "./model.js";
import type { PlannedTable } from "./plan.js";
import { DTYPES, elementCount } from "@shardserve/tensor";

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
  const checkpointKey = variable.attrs.text("checkpointKey");
  const name = model.names.get(checkpointKey) ?? checkpointKey;
  const shape = model.variables.entries.get(checkpointKey)!.shape;
  const [rows, ...rowShape] = shape;
  if (rows === undefined) return "it is a scalar";
  if (variable.attrs.has("sliceStart")) {
    const part = variable.attrs.ints("sliceLength");
    if (rowShape.some((dim, i) => part[i + 1] !== dim)) return "it is partitioned along its columns";
  }
  return { checkpointKey, name, dtype: variable.attrs.dtype("dtype"), rows, rowShape };
}

/**
 * Finds the tables of a model: every frozen variable that a serving signature gathers rows of. A table is shardable when
 * all uses in all signatures are such gathers.
 */
export function findTables(model: ModelGraph, kernels: KernelTable): FoundTable[] {
  const found = new Map<string, { table: PlannedTable; lookups: { signature: string; node: string }[] }>();
  const obstacles = new Map<string, string>();
  for (const [signature, source] of model.programs) {
    const { program, inference } = compile(model, source, kernels);
    const uses = findVariableUses(program, inference);
    for (const [node, why] of uses.whole) {
      const key = program.graph.get(node)!.attrs.text("checkpointKey");
      if (!obstacles.has(key)) obstacles.set(key, `${why} (signature "${signature}")`);
    }
    for (const lookup of uses.lookups) {
      const variable = program.graph.get(lookup.variable)!;
      const key = variable.attrs.text("checkpointKey");
      const table = tableOf(model, variable);
      if (typeof table === "string") {
        obstacles.set(key, table);
        continue;
      }
      const entry = found.get(key) ?? { table, lookups: [] };
      entry.lookups.push({ signature, node: lookup.gather.name });
      found.set(key, entry);
    }
  }
  return [...found.entries()].map(([key, { table, lookups }]) => ({
    ...table,
    bytes: table.rows * elementCount(table.rowShape) * DTYPES[table.dtype].bytes,
    lookups,
    shardable: obstacles.get(key) ?? true,
  }));
}
