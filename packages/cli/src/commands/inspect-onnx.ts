import { join } from "node:path";
import { loadOrt } from "@shardserve/native";
import {
  declaredType,
  decodeOnnxModel,
  findOnnxTables,
  hoistGathers,
  ONNX_MODEL_FILE,
  ONNX_SIGNATURE,
  openZipMaps,
  readWithWeightsInPlace,
} from "@shardserve/onnx";
import { planMemory, totalBytes } from "@shardserve/servable";
import type { Terminal } from "../command.js";
import { memoryText } from "./memory-text.js";
import { tablesText } from "./tables-text.js";

/** `inspect` of a directory with a model.onnx: signature, ops, tables and lookups. */
export async function inspectOnnx(dir: string, isJson: boolean, terminal: Terminal): Promise<void> {
  const model = decodeOnnxModel(await readWithWeightsInPlace(dir, terminal.signal), join(dir, ONNX_MODEL_FILE));
  openZipMaps(model);
  const { graph } = model;
  const initialisers = new Set(graph.initializer.map(({ name }) => name));
  const shown = (values: typeof graph.input) =>
    values.flatMap((info) => {
      const type = initialisers.has(info.name) ? undefined : declaredType(info);
      const shape = type?.shape?.map((dim) => (dim < 0 ? "?" : dim)).join(",") ?? "...";
      return initialisers.has(info.name) ? [] : [`${info.name}: ${type ? `${type.dtype}[${shape}]` : "no tensor"}`];
    });
  const counts = new Map<string, number>();
  for (const { opType } of graph.node) counts.set(opType, (counts.get(opType) ?? 0) + 1);
  hoistGathers(graph); // as shard-export would
  const { tables } = findOnnxTables(graph);
  const ops = Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
  const opsets = model.opsetImport.map(({ domain, version }) => `${domain || "ai.onnx"} ${version}`);
  const signature = { signature: ONNX_SIGNATURE, inputs: shown(graph.input), outputs: shown(graph.output), ops };
  const library = `ONNX Runtime ${loadOrt().version}`;
  const described = tables.map(({ checkpointKey, name, dtype, rows, rowShape, bytes, lookups, shardable }) => {
    return { checkpointKey, name, dtype, rows, rowShape, bytes, lookups, shardable };
  });
  const plan = await planMemory(dir);
  if (isJson) {
    const { producerName: producer } = model;
    const memory = { ...plan, totalBytes: totalBytes(plan) };
    const kind = "ONNX model";
    const report = { dir, kind, producer, opsets, library, memory, signatures: [signature], tables: described };
    return terminal.print(JSON.stringify(report, undefined, 2));
  }
  const producer = `${model.producerName || "an unknown program"} ${model.producerVersion}`.trim();
  terminal.print(`${dir}: ONNX model by ${producer}, opset ${opsets.join(", ")}; served on ${library}`);
  terminal.print(memoryText(plan));
  if (described.length === 0) terminal.print("no initialiser is looked up by row");
  else {
    terminal.print(`${described.length} initialisers are looked up:`);
    terminal.print(tablesText(described));
  }
  terminal.print(`\nsignature ${ONNX_SIGNATURE}`);
  terminal.print(`  in   ${signature.inputs.join(", ") || "nothing"}`);
  terminal.print(`  out  ${signature.outputs.join(", ") || "nothing"}`);
  terminal.print(`  ops  ${[...counts].map(([op, count]) => `${op} ${count}`).join(", ")}`);
  for (const { name, lookups } of described)
    for (const { node } of lookups) terminal.print(`  lookup ${node}: ${name}`);
}
