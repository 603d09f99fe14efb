import type { Tensor } from "@shardserve/tensor";
import { Attrs, type AttrValue } from "../ir/attrs.js";
import type { Graph, GraphNode, TensorRef } from "../ir/ir.js";
import { constantNode } from "./rewrites/fold.js";

/** Nodes that a pass adds to a graph, under names that nothing in it has, or puts in the place of some of its own. */
export class NewNodes {
  /** By name, those in the place of others too. */
  readonly nodes = new Map<string, GraphNode>();
  readonly #graph: Graph;
  /** The number to try next behind a name. */
  readonly #next = new Map<string, number>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** `name`, or `name_1`, `name_2`, ... : the next one that is free. */
  free(name: string): string {
    let candidate = name;
    let number = this.#next.get(name) ?? 1;
    while (this.#graph.has(candidate) || this.nodes.has(candidate)) candidate = `${name}_${number++}`;
    this.#next.set(name, number);
    return candidate;
  }

  /** Adds a node under a free name like its own; its first output. */
  add(node: GraphNode): TensorRef {
    const name = this.free(node.name);
    this.nodes.set(name, { ...node, name });
    return { node: name, index: 0 };
  }

  /** Adds a node without control inputs; its first output. */
  op(
    name: string,
    op: string,
    inputs: readonly TensorRef[],
    attrs: Readonly<Record<string, AttrValue>> = {},
  ): TensorRef {
    return this.add({ name, op, inputs, controls: [], attrs: new Attrs(op, attrs) });
  }

  constant(name: string, value: Tensor): TensorRef {
    return this.add(constantNode(name, value));
  }

  /** Puts a node in the place of the one of its name. */
  replace(node: GraphNode): void {
    this.nodes.set(node.name, node);
  }

  /** Puts an op without control inputs in the place of the node `name`. */
  replaceByOp(
    name: string,
    op: string,
    inputs: readonly TensorRef[],
    attrs: Readonly<Record<string, AttrValue>> = {},
  ): void {
    this.replace({ name, op, inputs, controls: [], attrs: new Attrs(op, attrs) });
  }

  get isEmpty(): boolean {
    return this.nodes.size === 0;
  }
}
