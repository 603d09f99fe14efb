import type { onnx } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { FoundTable } from "@shardserve/graph";
import { type DType, DTYPES, elementCount, isNumeric } from "@shardserve/tensor";
import { capturedValues, intAttribute, isOp, nodeName } from "./model-graph.js";
import { ONNX_SIGNATURE } from "./model-file.js";

/** A gather of whole rows: `output = table[ids]`. */
export interface OnnxLookup {
  /** Index in the graph's nodes, and what people call the node. */
  readonly node: number;
  readonly name: string;
  /** The initialiser or input that is gathered from. */
  readonly table: string;
  readonly ids: string;
  /** GatherND: the ids have a last dimension of 1. */
  readonly isNd: boolean;
}

export interface TableUses {
  readonly lookups: readonly OnnxLookup[];
  /** Why a value is no table, by value: what reads it otherwise than by row. */
  readonly whole: ReadonlyMap<string, string>;
}

/**
 * Finds out how values are used that may be tables.
 *
 * @param candidates  initialisers or inputs of the main graph; others of their names (Identity) count as themselves
 */
export function findTableUses(graph: onnx.GraphProto, candidates: ReadonlySet<string>): TableUses {
  const aliases = new Map<string, string>([...candidates].map((name) => [name, name]));
  const shapes = declaredShapes(graph);
  const constants = new Set(graph.initializer.map(({ name }) => name));
  const lookups: OnnxLookup[] = [];
  const whole = new Map<string, string>();
  const note = (table: string | undefined, why: string) => {
    if (table !== undefined && !whole.has(table)) whole.set(table, why);
  };
  for (const [index, node] of graph.node.entries()) {
    const name = nodeName(node);
    for (const inner of capturedValues(node)) note(aliases.get(inner), `read inside ${node.opType} "${name}"`);
    for (const [position, input] of node.input.entries()) {
      const table = aliases.get(input);
      if (table === undefined) continue;
      if (isOp(node, "Identity")) {
        if (node.output[0]) aliases.set(node.output[0], table);
        continue;
      }
      const form = position === 0 ? rowGather(node, shapes) : undefined;
      const ids = node.input[1] ?? "";
      if (form === undefined) note(table, `read whole by ${node.opType} "${name}"`);
      else if (constants.has(ids)) note(table, `gathered at constant ids by "${name}"`);
      else lookups.push({ node: index, name, table, ids, isNd: form === "nd" });
    }
  }
  for (const { name } of graph.output) note(aliases.get(name), `the output "${name}"`);
  return { lookups, whole };
}

/** An initialiser that rows are looked up in. */
export interface FoundOnnxTable extends FoundTable {
  readonly tensor: onnx.TensorProto;
}

/**
 * Finds the tables of a model: initialisers of numbers that a Gather along the first dimension, or a GatherND that does the
 * same, takes rows of. A table is shardable when all its uses are such gathers.
 *
 * @returns the tables; and of any initialiser what reads it whole, if something does
 * @throws ServingError GRAPH_INVALID when two initialisers have one name
 */
export function findOnnxTables(graph: onnx.GraphProto): {
  readonly tables: readonly FoundOnnxTable[];
  readonly whole: ReadonlyMap<string, string>;
} {
  const tensors = new Map<string, onnx.TensorProto>();
  for (const tensor of graph.initializer) {
    if (tensors.has(tensor.name))
      throw new ServingError("GRAPH_INVALID", `the ONNX model has two initialisers named "${tensor.name}"`);
    tensors.set(tensor.name, tensor);
  }
  const { lookups, whole } = findTableUses(graph, new Set(tensors.keys()));
  const tables = [...new Set(lookups.map(({ table }) => table))].map((name) => {
    const found = lookups.filter(({ table }) => table === name);
    const tensor = tensors.get(name)!;
    const dtype = dtypeOfOnnx(tensor.dataType);
    const [rows = 0, ...rowShape] = tensor.dims.map(Number);
    const elementBytes = dtype === undefined ? 0 : DTYPES[dtype].bytes;
    return {
      checkpointKey: name,
      name,
      tensor,
      dtype: dtype ?? "string",
      rows,
      rowShape,
      bytes: rows * elementCount(rowShape) * elementBytes,
      lookups: found.map(({ name: node }) => ({ signature: ONNX_SIGNATURE, node })),
      shardable: whole.get(name) ?? whyNoTable(tensor, dtype, rows, rowShape) ?? (true as const),
    };
  });
  return { tables, whole };
}

/** undefined for element types that tensors here do not have (float8, int4). */
export function dtypeOfOnnx(type: number): DType | undefined {
  const names = Object.keys(DTYPES) as DType[];
  // ONNX has no quantised types, nor resources; TensorFlow's are stored as plain ones.
  return type === 0 ? undefined : names.find((name) => DTYPES[name].onnx === type && !/^qu?int/.test(name));
}

function whyNoTable(
  tensor: onnx.TensorProto,
  dtype: DType | undefined,
  rows: number,
  rowShape: readonly number[],
): string | undefined {
  if (dtype === undefined || !isNumeric(dtype)) return `rows of ${dtype ?? `ONNX type ${tensor.dataType}`}`;
  if (tensor.dims.length === 0) return "a scalar";
  if (rows === 0 || rowShape.includes(0)) return "empty";
  // Exporters write weights as raw bytes; numbers one by one are how small constants are written by hand.
  if (!isExternal(tensor) && tensor.rawData.length === 0) return "stored as numbers, not as raw bytes";
  return undefined;
}

/** True when the tensor's bytes are in a file of their own. */
export function isExternal(tensor: onnx.TensorProto): boolean {
  return tensor.dataLocation === 1;
}

/** How a node takes whole rows of its first input, if it does. */
function rowGather(node: onnx.NodeProto, shapes: ReadonlyMap<string, readonly number[]>): "plain" | "nd" | undefined {
  // A negative axis counts from the end, which only the table's rank tells; exporters write 0.
  if (isOp(node, "Gather")) return intAttribute(node, "axis", 0) === 0 ? "plain" : undefined;
  if (!isOp(node, "GatherND") || intAttribute(node, "batch_dims", 0) !== 0) return undefined;
  return shapes.get(node.input[1] ?? "")?.at(-1) === 1 ? "nd" : undefined;
}

/** Shapes that the model states, -1 = any. */
function declaredShapes(graph: onnx.GraphProto): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const { name, type } of [...graph.input, ...graph.output, ...graph.valueInfo]) {
    const value = type?.value;
    if (value?.case !== "tensorType" || !value.value.shape) continue;
    shapes.set(
      name,
      value.value.shape.dim.map((dim) => (dim.value.case === "dimValue" ? Number(dim.value.value) : -1)),
    );
  }
  return shapes;
}
