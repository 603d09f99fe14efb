import { type DType, isNumeric, tensor, toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { uniqueName } from "../../ir/unique-name.js";
import { constantOf, type GraphNode, refKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, prune, rewrite } from "../../ir/program.js";
import { constantNode } from "../rewrites/fold.js";

/** A gather of rows of a frozen variable. */
export interface FoundLookup {
  readonly gather: GraphNode;
  /** Name of the `Variable` node. */
  readonly variable: string;
  readonly ids: TensorRef;
  /** GatherNd: the ids have a last dimension of one. */
  readonly isNd: boolean;
}

/** All uses of the variables of a program. */
export interface VariableUses {
  readonly lookups: readonly FoundLookup[];
  /** `Variable` node -> why it is needed whole; absent for variables that are only looked up. */
  readonly whole: ReadonlyMap<string, string>;
}

export const SPARSE_SEGMENT = /^SparseSegment(Sum|Mean|SqrtN)(WithNumSegments)?$/;

/**
 * Brings gathers that hide behind other ops into the form that {@link findVariableUses} knows:
 * - `gather(cast(variable), ids)` becomes `cast(gather(variable, ids))` (mixed precision);
 * - sparse segment ops that read a variable directly (embedding_lookup_sparse with fast lookup) read its gathered rows.
 */
export function exposeLookups(program: Program, inference: Inference): Program {
  const replaced = new Map<string, GraphNode>();
  const unique = (name: string): string => uniqueName(name, (taken) => program.graph.has(taken) || replaced.has(taken));
  const dtypeOf = (ref: TensorRef): DType | undefined => inference.info(ref)?.dtype;
  for (const node of program.graph.values()) {
    const source = node.inputs[0] && program.graph.get(node.inputs[0].node);
    if (!source || source.controls.length > 0) continue;
    if (source.op === "Cast" && variableBehind(program, source.inputs[0]!) && isRowGather(program, node)) {
      const name = unique(`${node.name}/rows`);
      const dtype = dtypeOf(source.inputs[0]!)!;
      const attrs = node.attrs.with({ Tparams: dtype });
      replaced.set(name, { ...node, name, inputs: [source.inputs[0]!, ...node.inputs.slice(1)], attrs });
      replaced.set(node.name, {
        ...source,
        name: node.name,
        inputs: [{ node: name, index: 0 }],
        controls: node.controls,
      });
    } else if (SPARSE_SEGMENT.test(node.op) && source.op === "Variable") {
      const ids = node.inputs[1]!;
      const idsDType = dtypeOf(ids);
      if (idsDType !== "int32" && idsDType !== "int64") continue;
      const rows = unique(`${node.name}/rows`);
      const types = { Tparams: source.attrs.dtype("dtype"), Tindices: idsDType };
      replaced.set(rows, {
        name: rows,
        op: "Gather",
        inputs: [node.inputs[0]!, ids],
        controls: [],
        attrs: new Attrs("Gather", types),
      });
      const position = positionsOf(ids, idsDType, node.name, unique, replaced);
      const inputs = [{ node: rows, index: 0 }, position, ...node.inputs.slice(2)];
      replaced.set(node.name, { ...node, inputs });
    }
  }
  return replaced.size === 0 ? program : prune(rewrite(program, new Map(), replaced));
}

/** range(size(ids)): where each gathered row lies. */
function positionsOf(
  ids: TensorRef,
  dtype: "int32" | "int64",
  name: string,
  unique: (name: string) => string,
  nodes: Map<string, GraphNode>,
): TensorRef {
  const add = (suffix: string, op: string, inputs: TensorRef[], attrs: Attrs): TensorRef => {
    const added = unique(`${name}/${suffix}`);
    nodes.set(added, { name: added, op, inputs, controls: [], attrs });
    return { node: added, index: 0 };
  };
  const constant = (suffix: string, value: number): TensorRef => {
    const added = unique(`${name}/${suffix}`);
    const data =
      dtype === "int64"
        ? tensor("int64", [], BigInt64Array.of(BigInt(value)))
        : tensor("int32", [], Int32Array.of(value));
    nodes.set(added, constantNode(added, data));
    return { node: added, index: 0 };
  };
  const size = add("count", "Size", [ids], new Attrs("Size", { T: dtype, out_type: dtype }));
  return add(
    "positions",
    "Range",
    [constant("zero", 0), size, constant("one", 1)],
    new Attrs("Range", { Tidx: dtype }),
  );
}

/** Finds every lookup, and every other use, of the frozen variables of a program. */
export function findVariableUses(program: Program, inference: Inference): VariableUses {
  const lookups: FoundLookup[] = [];
  const whole = new Map<string, string>();
  for (const node of inference.order) {
    for (const [i, ref] of node.inputs.entries()) {
      const variable = variableBehind(program, ref);
      if (!variable) continue;
      const reason =
        i === 0 ? lookupOrWhy(program, inference, node, variable) : `${node.op} "${node.name}" reads it whole`;
      if (typeof reason !== "string") lookups.push(reason);
      // An Identity only hands it on; whoever reads the Identity is looked at in turn.
      else if (node.op !== "Identity" && !whole.has(variable.name)) whole.set(variable.name, reason);
    }
  }
  for (const ref of program.outputs) {
    const variable = variableBehind(program, ref);
    if (variable) whole.set(variable.name, "a signature returns it whole");
  }
  return { lookups, whole };
}

/** The `Variable` node that a value is, if it is one; Identity nodes that wait for an effect may lie between. */
function variableBehind(program: Program, ref: TensorRef): GraphNode | undefined {
  let node = nodeOf(program.graph, ref.node);
  while (node.op === "Identity") node = nodeOf(program.graph, node.inputs[0]!.node);
  return node.op === "Variable" ? node : undefined;
}

function lookupOrWhy(
  program: Program,
  inference: Inference,
  node: GraphNode,
  variable: GraphNode,
): FoundLookup | string {
  const dtype = variable.attrs.dtype("dtype");
  if (!isNumeric(dtype)) return `its elements are ${dtype}`;
  const isNd = node.op === "GatherNd";
  if (!isRowGather(program, node)) return `${node.op} "${node.name}" reads it whole`;
  const ids = node.inputs[1]!;
  const info = inference.info(ids);
  if (info?.dtype !== "int32" && info?.dtype !== "int64")
    return `"${node.name}" has ids of dtype ${info?.dtype ?? "unknown"}`;
  if (isNd && info.shape?.at(-1) !== 1) return `GatherNd "${node.name}" takes more than whole rows`;
  if (variable.attrs.shape("shape")!.length === 0) return "it is a scalar";
  return { gather: node, variable: variable.name, ids, isNd };
}

/** Gather, GatherV2 along axis 0 without batch dimensions, GatherNd. */
export function isRowGather(program: Program, node: GraphNode): boolean {
  if (node.op === "Gather" || node.op === "GatherNd") return true;
  if (node.op !== "GatherV2" || node.attrs.int("batch_dims") !== 0) return false;
  const axis = constantOf(program.graph.get(node.inputs[2]!.node));
  return axis !== undefined && toNumbers(axis)[0] === 0;
}

/**
 * Cuts lookups out of the graph. A pseudo-op `Lookup` takes the ids and gives the rows and, for every id, its slot among
 * them; the gather becomes `GatherRows` and keeps its name. Lookups of the same rows by the same ids are one.
 */
export function cutLookups(program: Program, lookups: readonly FoundLookup[]): Program {
  const replaced = new Map<string, GraphNode>();
  const byIds = new Map<string, string>();
  for (const { gather, variable, ids, isNd } of lookups) {
    const key = `${variable}\n${refKey(ids)}\n${isNd}`;
    let lookup = byIds.get(key);
    if (lookup === undefined) {
      lookup = uniqueName(`${gather.name}/lookup`, (name) => program.graph.has(name) || replaced.has(name));
      byIds.set(key, lookup);
      const attrs = lookupAttrs(nodeOf(program.graph, variable));
      const source = isNd ? squeezedIds(`${lookup}/ids`, ids, gather, replaced) : ids;
      replaced.set(lookup, { name: lookup, op: "Lookup", inputs: [source], controls: gather.controls, attrs });
    }
    const inputs = [0, 1].map((index) => ({ node: lookup, index }));
    replaced.set(gather.name, { ...gather, op: "GatherRows", inputs, attrs: new Attrs("GatherRows") });
  }
  return replaced.size === 0 ? program : prune(rewrite(program, new Map(), replaced));
}

function squeezedIds(name: string, ids: TensorRef, gather: GraphNode, nodes: Map<string, GraphNode>): TensorRef {
  const attrs = new Attrs("Squeeze", { T: gather.attrs.dtype("Tindices"), squeeze_dims: [-1] });
  nodes.set(name, { name, op: "Squeeze", inputs: [ids], controls: [], attrs });
  return { node: name, index: 0 };
}

function lookupAttrs(variable: GraphNode): Attrs {
  const shape = variable.attrs.shape("shape")!;
  return new Attrs("Lookup", {
    checkpointKey: variable.attrs.text("checkpointKey"),
    dtype: variable.attrs.dtype("dtype"),
    rowOffset: variable.attrs.has("sliceStart") ? variable.attrs.ints("sliceStart")[0]! : 0,
    rowCount: shape[0]!,
    rowShape: shape.slice(1),
  });
}
