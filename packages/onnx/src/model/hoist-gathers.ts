import type { onnx } from "@shardserve/api";
import { capturedValues, changedNode, constantsOf, intAttribute, isOp, nodeName } from "./model-graph.js";

/**
 * Brings gathers of whole rows to where a model can be cut: into the main graph, directly behind their table. Exporters put two things
 * in between, which change no number when the order is changed:
 *
 * - PyTorch's TorchScript exporter writes an EmbeddingBag as a Loop over bags, whose body gathers the rows of `ids[start:end]`. The
 *   rows of all ids are gathered before the loop instead, and the body takes `rows[start:end]`.
 * - A table stored as int8 or half floats is widened as a whole (DequantizeLinear with one scale, Cast), then gathered from. Its rows
 *   are gathered first and widened then.
 *
 * @returns whether something was moved
 */
export function hoistGathers(graph: onnx.GraphProto): boolean {
  const tables = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  const fromLoops = graph.node.flatMap((node) =>
    isOp(node, "Loop") ? [...gathersBefore(node, graph, tables), node] : [node],
  );
  const isLonger = fromLoops.length > graph.node.length;
  graph.node = fromLoops;
  return narrowGathers(graph, tables) || isLonger;
}

type Tensors = ReadonlyMap<string, onnx.TensorProto>;

/** Takes gathers of slices out of a loop's body. @returns the gathers that are to be done before it */
function gathersBefore(loop: onnx.NodeProto, outer: onnx.GraphProto, tables: Tensors): onnx.NodeProto[] {
  const body = loop.attribute.find(({ name }) => name === "body")?.g;
  if (!body) return [];
  const inner = new Set([...body.input.map(({ name }) => name), ...body.initializer.map(({ name }) => name)]);
  for (const { output } of body.node) for (const name of output) inner.add(name);
  const slices = new Map<string, onnx.NodeProto>();
  for (const node of body.node) if (isOp(node, "Slice") && node.output[0]) slices.set(node.output[0], node);
  const constants = constantsOf([outer, body]);
  const moved: onnx.NodeProto[] = [];
  body.node = body.node.map((node) => {
    const [table = "", ids = ""] = node.input;
    const slice = slices.get(ids);
    const all = slice?.input[0] ?? "";
    if (!slice || !isRowGather(node) || !tables.has(table) || inner.has(table) || inner.has(all) || all === "")
      return node;
    if (!isAlongRows(slice, constants)) return node;
    const name = nodeName(node);
    const rows = `shardserve/rows/${nodeName(loop)}/${node.output[0]}`;
    moved.push(changedNode(node, { name, input: [table, all], output: [rows] }));
    return changedNode(slice, { name, input: [rows, ...slice.input.slice(1)], output: node.output });
  });
  return moved;
}

/** Whether a Slice takes a range of the first dimension only, whatever the others are. */
function isAlongRows(slice: onnx.NodeProto, constants: Tensors): boolean {
  const axes = constants.get(slice.input[3] ?? "");
  if (!axes || axes.dataType !== INT64 || axes.dims.length !== 1 || axes.dims[0] !== 1n) return false;
  const [axis] = axes.int64Data.length > 0 ? axes.int64Data : int64s(axes.rawData);
  return axis === 0n;
}

const INT64 = 7;

function int64s(bytes: Uint8Array): bigint[] {
  return bytes.length < 8 ? [] : [new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true)];
}

/** Gathers rows before they are widened, where nothing but such gathers reads what was widened as a whole. */
function narrowGathers(graph: onnx.GraphProto, tables: Tensors): boolean {
  const widened = new Map<string, onnx.NodeProto>();
  for (const node of graph.node) {
    if (node.output[0] && tables.has(node.input[0] ?? "") && isElementwise(node, tables))
      widened.set(node.output[0], node);
  }
  for (const { name } of graph.output) widened.delete(name);
  for (const node of graph.node) {
    for (const name of capturedValues(node)) widened.delete(name);
    for (const [i, name] of node.input.entries()) if (i > 0 || !isRowGather(node)) widened.delete(name);
  }
  const read = new Set(graph.node.flatMap(({ input }) => input));
  for (const name of widened.keys()) if (!read.has(name)) widened.delete(name);
  if (widened.size === 0) return false;
  graph.node = graph.node.flatMap((node) => {
    if (widened.get(node.output[0] ?? "") === node) return [];
    const widen = widened.get(node.input[0] ?? "");
    if (!widen) return [node];
    const name = nodeName(node);
    const rows = `shardserve/narrow/${node.output[0]}`;
    const gather = changedNode(node, { name, input: [widen.input[0]!, node.input[1]!], output: [rows] });
    const wideName = `${nodeName(widen)}/${name}`;
    const input = [rows, ...widen.input.slice(1)];
    return [gather, changedNode(widen, { name: wideName, input, output: node.output })];
  });
  return true;
}

/** Whether a node makes each number from one number of its first input, alike for all. */
function isElementwise(node: onnx.NodeProto, tensors: Tensors): boolean {
  if (isOp(node, "Cast")) return true;
  if (!isOp(node, "DequantizeLinear") || intAttribute(node, "block_size", 0) !== 0) return false;
  // One scale for the whole table: a scalar. Of a vector the axis would move with the rank of the ids.
  return node.input.slice(1).every((name) => name === "" || tensors.get(name)?.dims.length === 0);
}

function isRowGather(node: onnx.NodeProto): boolean {
  return isOp(node, "Gather") && intAttribute(node, "axis", 0) === 0;
}
