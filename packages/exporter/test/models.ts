import { hostKernels } from "@shardserve/host-ops";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf } from "@shardserve/tensor";
import { type ExportOptions, type ExportPlan, planExport } from "../src/index.js";

/** Element `i` of table `t`: exact in float32, different everywhere. */
export function element(table: number, i: number): number {
  return ((i * 31 + table * 7) % 100_003) / 64 - 700;
}

/** Writes a SavedModel that looks rows up in tables of the given rows. */
export async function writeTables(dir: string, rows: readonly number[], dim: number): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const gathered = rows.map((count, i) =>
    graph.gather(graph.variable(`t${i}`, "float32", [count, dim]), ids, "float32", "int64"),
  );
  const sum = graph.node("AddN", gathered, { attrs: { T: attr.type("float32"), N: attr.int(gathered.length) } });
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { sum: { ref: sum, dtype: "float32", shape: [-1, dim] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      for (const [table, count] of rows.entries()) {
        const values = Float32Array.from({ length: count * dim }, (_, i) => element(table, i));
        await writer.add(`t${table}`, "float32", [count, dim], bytesOf(values));
      }
    },
  });
}

export function plan(dir: string, options: Partial<ExportOptions> = {}): Promise<ExportPlan> {
  return planExport(dir, { minTableBytes: 0, rowDtype: "same", ...options }, hostKernels);
}
