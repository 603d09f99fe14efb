import {
  type AttrValue,
  AttrValueSchema,
  create,
  type DataType,
  type FunctionDef,
  type GraphDef,
  GraphDefSchema,
  type MetaGraphDef,
  type NodeDef,
  NodeDefSchema,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { TableBinding, VariableBinding } from "@shardserve/savedmodel";
import { DTYPES, dtypeFromTf } from "@shardserve/tensor";
import type { TensorRef } from "../ir/ir.js";
import { functionsOf } from "./called-functions.js";
import { parseRef } from "./import.js";
import type { Signature } from "./model.js";

/** A fed tensor and the node that then gives a variable its value. */
export interface RestoreVariable {
  readonly binding: VariableBinding;
  readonly feed: TensorRef;
  readonly target: string;
}

/** Fed keys and values and the node that then fills a mutable table with them. */
export interface RestoreTable {
  readonly binding: TableBinding;
  readonly keys: TensorRef;
  readonly values: TensorRef;
  readonly target: string;
}

/**
 * A MetaGraph for TensorFlow to run as it stands: what its signatures and its init op need, with nodes added through which
 * variables and tables are filled. The graph's own restore op is left out: it finds the files by name, reads every tensor
 * in one piece, and in Keras 3 exports fills other handles than the signatures read.
 */
export interface WholeGraph {
  readonly graphDef: GraphDef;
  readonly variables: readonly RestoreVariable[];
  readonly tables: readonly RestoreTable[];
  readonly initOp: string | undefined;
  /** Assets to feed when the init op runs: file path by the tensor that takes it. */
  readonly assets: readonly { readonly feed: TensorRef; readonly path: string }[];
  /** Every op of the graph and of the functions that it calls -> one node that is it. */
  readonly ops: ReadonlyMap<string, string>;
  /** Nodes by which a request changes what later requests see -> dtype that they write; undefined = none of its own. */
  readonly writes: ReadonlyMap<string, string | undefined>;
}

export interface WholeGraphOptions {
  readonly signatures: Iterable<Signature>;
  readonly initOp: string | undefined;
  /** Absolute path of each asset by the name of the tensor that takes it. */
  readonly assets: ReadonlyMap<string, string>;
  /** By name of the node in the main graph. */
  readonly variables: ReadonlyMap<string, VariableBinding>;
  readonly tables: ReadonlyMap<string, TableBinding>;
}

/** @throws ServingError GRAPH_INVALID when the graph refers to a node that it does not have */
export function wholeGraph(metaGraph: MetaGraphDef, options: WholeGraphOptions): WholeGraph {
  const source = metaGraph.graphDef ?? create(GraphDefSchema);
  const nodes = new Map(source.node.map((node) => [node.name, node]));
  const library = new Map((source.library?.function ?? []).map((def) => [def.signature?.name ?? "", def]));
  const roots = [...options.signatures].flatMap(({ inputs, outputs }) => [...inputs, ...outputs]);
  const serving = reachableNodes(nodes, new Set(roots.map(({ ref }) => ref.node)));
  const served = functionsOf(serving.values(), library);
  const kept = new Map(serving);
  const initOp = options.initOp !== undefined && nodes.has(options.initOp) ? options.initOp : undefined;
  if (initOp !== undefined) for (const [name, node] of reachableNodes(nodes, new Set([initOp]))) kept.set(name, node);
  const functions = functionsOf(kept.values(), library);
  const added: NodeDef[] = [];
  const variables: RestoreVariable[] = [];
  for (const [name, binding] of options.variables) {
    const node = kept.get(name);
    if (node) variables.push(restoreVariable(node, binding, variables.length, added));
  }
  const tables: RestoreTable[] = [];
  for (const [name, binding] of options.tables) {
    const node = kept.get(name);
    if (node) tables.push(restoreTable(node, binding, tables.length, added));
  }
  const graphDef = create(GraphDefSchema, {
    node: [...[...kept.values()].map(onAnyJob), ...added],
    library: { function: [...functions.values()] },
    ...(source.versions && { versions: source.versions }),
  });
  return {
    graphDef,
    variables,
    tables,
    initOp,
    assets: [...options.assets]
      .map(([tensorName, path]) => ({ feed: parseRef(tensorName), path }))
      .filter(({ feed }) => kept.has(feed.node)),
    ops: opsOf([...kept.values()], functions),
    writes: writesOf([...serving.values()], served),
  };
}

function reachableNodes(nodes: ReadonlyMap<string, NodeDef>, roots: ReadonlySet<string>): Map<string, NodeDef> {
  const found = new Map<string, NodeDef>();
  const stack = [...roots];
  for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
    if (found.has(name)) continue;
    const node = nodes.get(name);
    if (!node) throw new ServingError("GRAPH_INVALID", `the graph refers to node "${name}", which it does not have`);
    found.set(name, node);
    for (const input of node.input) stack.push(input.startsWith("^") ? input.slice(1) : parseRef(input).node);
  }
  return found;
}

/** Training clusters' jobs mean nothing here; the kind of device, which may keep a table off the GPU, does. */
function onAnyJob(node: NodeDef): NodeDef {
  if (!node.device.includes("/job:")) return node;
  return { ...node, device: /\/device:\w+:(\d+|\*)/i.exec(node.device)?.[0] ?? "" };
}

const typeAttr = (dtype: number): AttrValue =>
  create(AttrValueSchema, { value: { case: "type", value: dtype as DataType } });

function placeholder(name: string, dtype: number, added: NodeDef[]): TensorRef {
  added.push(create(NodeDefSchema, { name, op: "Placeholder", attr: { dtype: typeAttr(dtype) } }));
  return { node: name, index: 0 };
}

function restoreVariable(node: NodeDef, binding: VariableBinding, number: number, added: NodeDef[]): RestoreVariable {
  const prefix = `shardserve_restore/variable_${number}`;
  const dtype = typeOf(node, "dtype");
  const feed = placeholder(`${prefix}/value`, dtype, added);
  const target = `${prefix}/assign`;
  const input = [node.name, feed.node];
  added.push(
    node.op === "VarHandleOp"
      ? create(NodeDefSchema, { name: target, op: "AssignVariableOp", input, attr: { dtype: typeAttr(dtype) } })
      : create(NodeDefSchema, {
          name: target,
          op: "Assign",
          input,
          attr: { T: typeAttr(dtype), validate_shape: create(AttrValueSchema, { value: { case: "b", value: false } }) },
        }),
  );
  return { binding, feed, target };
}

function restoreTable(node: NodeDef, binding: TableBinding, number: number, added: NodeDef[]): RestoreTable {
  const prefix = `shardserve_restore/table_${number}`;
  const [Tin, Tout] = [typeOf(node, "key_dtype"), typeOf(node, "value_dtype")];
  const keys = placeholder(`${prefix}/keys`, Tin, added);
  const values = placeholder(`${prefix}/values`, Tout, added);
  const target = `${prefix}/import`;
  const op = node.op.endsWith("V2") ? "LookupTableImportV2" : "LookupTableImport";
  const input = [node.name, keys.node, values.node];
  added.push(create(NodeDefSchema, { name: target, op, input, attr: { Tin: typeAttr(Tin), Tout: typeAttr(Tout) } }));
  return { binding, keys, values, target };
}

function typeOf(node: NodeDef, name: string): number {
  const value = node.attr[name]?.value;
  if (value?.case === "type") return value.value;
  throw new ServingError("GRAPH_INVALID", `node "${node.name}" (${node.op}) has no attribute ${name}`);
}

function opsOf(nodes: readonly NodeDef[], functions: ReadonlyMap<string, FunctionDef>): Map<string, string> {
  const ops = new Map<string, string>();
  for (const node of [...nodes, ...[...functions.values()].flatMap(({ nodeDef }) => nodeDef)]) {
    if (!functions.has(node.op) && !ops.has(node.op)) ops.set(node.op, node.name);
  }
  return ops;
}

/** Ops whose effect outlives the request; what only lives in one run (lists, arrays, stacks) is none. */
const WRITE =
  /^(Assign|Scatter|ResourceScatter|ResourceApply|Apply|SparseApply|ResourceSparseApply|ResourceStridedSliceAssign|StridedSliceAssign|CountUpTo|ResourceCountUpTo|LookupTableInsert|LookupTableImport|LookupTableRemove|InitializeTable|Queue|Barrier|Stage|MapStage|DestroyResource|RngReadAndSkip)/;

function writesOf(
  nodes: readonly NodeDef[],
  functions: ReadonlyMap<string, FunctionDef>,
): Map<string, string | undefined> {
  const writes = new Map<string, string | undefined>();
  for (const node of [...nodes, ...[...functions.values()].flatMap(({ nodeDef }) => nodeDef)]) {
    if (!WRITE.test(node.op)) continue;
    const type = (node.attr["dtype"] ?? node.attr["T"])?.value;
    writes.set(node.name, type?.case === "type" && type.value in TF_NUMBERS ? dtypeFromTf(type.value) : undefined);
  }
  return writes;
}

const TF_NUMBERS: Readonly<Record<number, true>> = Object.fromEntries(
  Object.values(DTYPES).map(({ tf }) => [tf, true as const]),
);
