import { eachInPieces, type Pieces } from "@shardserve/core";
import { bytesOf, type DType, DTYPES, type NumericData, type Tensor } from "@shardserve/tensor";
import { WireWriter } from "./wire.js";

/** Opset and IR version of every model that we write: what ONNX Runtime 1.17 and later all load. */
const ONNX_OPSET = 20;
const IR_VERSION = 9;

/** A node attribute: number = INT, {float} = FLOAT, arrays = INTS, text = STRING, {branch} = GRAPH. */
export type OnnxAttr =
  | number
  | bigint
  | string
  | readonly (number | bigint)[]
  | { readonly float: number }
  | { readonly branch: OnnxGraph }
  | Tensor;

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attrs: Readonly<Record<string, OnnxAttr>>;
}

/** Bytes of a file that ONNX Runtime maps: the checkpoint itself. */
export interface FileRange {
  readonly kind: "file";
  /** Path relative to the folder that the session is told (`session.model_external_initializers_file_folder_path`). */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A constant inside the model: its bytes, or where in a file they are. */
export interface OnnxInitializer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | FileRange;
}

export interface OnnxValue {
  readonly name: string;
  readonly dtype: DType;
  /** -1 = unknown; undefined = unknown rank. */
  readonly shape: readonly number[] | undefined;
}

/** An onnx.GraphProto in the making: nodes in topological order. */
export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
}

/**
 * Serialises an onnx.ModelProto, in pieces; field numbers from onnx/onnx.proto.
 *
 * @param isNamed  false leaves the names of the graph's nodes out
 */
export function* encodeModel(graph: OnnxGraph, isNamed = true): Pieces<Uint8Array> {
  const nodes = new WireWriter(graph.nodes.length * NODE_BYTES);
  yield* eachInPieces(graph.nodes, (node) => writeNode(nodes, isNamed ? node : { ...node, name: "" }));
  const written = nodes.finish();
  const weightBytes = graph.initializers.reduce((sum, initializer) => sum + embeddedBytes(initializer), 0);
  const model = new WireWriter(written.length + weightBytes + graph.initializers.length * NODE_BYTES + HEADER_BYTES);
  model.int(1, IR_VERSION);
  model.text(2, "shardserve");
  const writeBody = (out: WireWriter): void => {
    out.raw(written);
    writeRest(out, graph);
  };
  model.message(7, writeBody, weightBytes);
  model.message(8, (opset) => opset.int(2, ONNX_OPSET));
  if (hasForeignOps(graph)) {
    model.message(8, (opset) => {
      opset.text(1, "com.microsoft");
      opset.int(2, 1);
    });
  }
  return model.finish();
}

/** What a node with its name takes, or an initializer beside its bytes, more or less. */
const NODE_BYTES = 256;
const HEADER_BYTES = 512;

function embeddedBytes({ data }: OnnxInitializer): number {
  return data instanceof Uint8Array ? data.length : 0;
}

function hasForeignOps({ nodes }: OnnxGraph): boolean {
  return nodes.some(
    (node) =>
      node.domain !== "" || Object.values(node.attrs).some((value) => isBranch(value) && hasForeignOps(value.branch)),
  );
}

function isBranch(value: OnnxAttr): value is { readonly branch: OnnxGraph } {
  return typeof value === "object" && "branch" in value;
}

function writeGraph(out: WireWriter, graph: OnnxGraph): void {
  for (const node of graph.nodes) writeNode(out, node);
  writeRest(out, graph);
}

/** What stands behind the nodes of a graph. */
function writeRest(out: WireWriter, graph: OnnxGraph): void {
  out.text(2, "segment");
  for (const initializer of graph.initializers) {
    out.message(5, (inner) => writeInitializer(inner, initializer), embeddedBytes(initializer));
  }
  for (const input of graph.inputs) out.message(11, (inner) => writeValue(inner, input));
  for (const output of graph.outputs) out.message(12, (inner) => writeValue(inner, output));
}

function writeNode(graph: WireWriter, node: OnnxNode): void {
  graph.message(1, (out) => {
    for (const input of node.inputs) out.text(1, input);
    for (const output of node.outputs) out.text(2, output);
    out.text(3, node.name);
    out.text(4, node.op);
    for (const [name, value] of Object.entries(node.attrs)) out.message(5, (inner) => writeAttr(inner, name, value));
    if (node.domain !== "") out.text(7, node.domain);
  });
}

function writeAttr(out: WireWriter, name: string, value: OnnxAttr): void {
  out.text(1, name);
  if (typeof value === "number" || typeof value === "bigint") {
    out.int(3, value);
    out.int(20, 2);
  } else if (typeof value === "string") {
    out.text(4, value);
    out.int(20, 3);
  } else if ("float" in value) {
    out.float(2, value.float);
    out.int(20, 1);
  } else if ("branch" in value) {
    out.message(6, (inner) => writeGraph(inner, value.branch));
    out.int(20, 5);
  } else if ("dtype" in value) {
    out.message(5, (inner) =>
      writeInitializer(inner, {
        name: "",
        dtype: value.dtype,
        shape: value.shape,
        data: bytesOf(value.data as NumericData),
      }),
    );
    out.int(20, 4);
  } else {
    out.ints(8, value);
    out.int(20, 7);
  }
}

function writeInitializer(out: WireWriter, { name, dtype, shape, data }: OnnxInitializer): void {
  out.ints(1, shape);
  out.int(2, DTYPES[dtype].onnx);
  if (name !== "") out.text(8, name);
  if (data instanceof Uint8Array) return out.bytes(9, data);
  for (const [key, value] of [
    ["location", data.location],
    ["offset", String(data.offset)],
    ["length", String(data.length)],
  ] as const) {
    out.message(13, (entry) => {
      entry.text(1, key);
      entry.text(2, value);
    });
  }
  out.int(14, 1);
}

function writeValue(out: WireWriter, { name, dtype, shape }: OnnxValue): void {
  out.text(1, name);
  out.message(2, (type) =>
    type.message(1, (tensorType) => {
      tensorType.int(1, DTYPES[dtype].onnx);
      if (shape) {
        tensorType.message(2, (dims) => {
          for (const dim of shape) dims.message(1, (inner) => (dim >= 0 ? inner.int(1, dim) : undefined));
        });
      }
    }),
  );
}
