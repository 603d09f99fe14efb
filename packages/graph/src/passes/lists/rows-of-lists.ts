import { scalar, tensor } from "@shardserve/tensor";
import { Attrs } from "../../ir/attrs.js";
import { type GraphNode, outputKey, refKey, type Region, type TensorRef } from "../../ir/ir.js";
import { rewrite } from "../../ir/program.js";
import { elementDType, READS } from "./list-ops.js";
import { NewNodes } from "../new-nodes.js";
import type { Readers } from "../readers.js";
import { argument } from "../control/regions.js";

/** A region that takes tensors instead of lists. */
export interface RegionOfRows extends Region {
  /** Where a value of the region as it was has gone. */
  follow(ref: TensorRef): TensorRef;
}

/**
 * A region that reads rows of tensors where it read elements of lists, and their number of rows where it read a length.
 *
 * @param inputs  which arguments are such lists; nothing else is done with them
 */
export function readRows(region: Region, readers: Readers, inputs: readonly number[]): RegionOfRows {
  const graph = new Map(region.graph);
  const nodes = new NewNodes(region.graph);
  const aliases = new Map<string, TensorRef>();
  for (const input of inputs) {
    const arg = { node: region.args[input]!, index: 0 };
    for (const node of readers.throughIdentity(arg) ?? []) {
      const isRead = READS.has(node.op);
      // What a graph says of the element, a turn checks anyway: its dtype is the argument's.
      if (isRead) graph.set(arg.node, argument(arg.node, elementDType(node)));
      aliases.set(outputKey(node.name), isRead ? row(nodes, node, arg) : rowCount(nodes, node, arg));
    }
  }
  const follow = (ref: TensorRef): TensorRef => {
    let current = ref;
    for (let next = aliases.get(refKey(current)); next; next = aliases.get(refKey(current))) current = next;
    return current;
  };
  return { ...rewrite({ ...region, graph }, aliases, nodes.nodes), args: region.args, follow };
}

/** Row i of `rows`, where `node` reads element i. */
function row(nodes: NewNodes, node: GraphNode, rows: TensorRef): TensorRef {
  const axis = nodes.constant(`${node.name}/axis`, scalar("int32", 0));
  const attrs = new Attrs("GatherV2", { Tparams: elementDType(node), Tindices: "int32", Taxis: "int32" });
  const inputs = [rows, node.inputs[1]!, axis];
  return nodes.add({ ...node, name: `${node.name}/row`, op: "GatherV2", inputs, attrs });
}

/** The first dimension of `rows`, where `node` asks for the length of the list. */
function rowCount(nodes: NewNodes, node: GraphNode, rows: TensorRef): TensorRef {
  const { name } = node;
  const shapeAttrs = new Attrs("Shape", { T: "float32", out_type: "int32" });
  const shape = nodes.add({ ...node, name: `${name}/shape`, op: "Shape", inputs: [rows], attrs: shapeAttrs });
  const bounds = [0, 1, 1].map((value, i) =>
    nodes.constant(`${name}/slice_${i}`, tensor("int32", [1], Int32Array.of(value))),
  );
  const attrs = new Attrs("StridedSlice", { T: "int32", Index: "int32", shrink_axis_mask: 1 });
  return nodes.add({ ...node, name: `${name}/rows`, op: "StridedSlice", inputs: [shape, ...bounds], attrs });
}
