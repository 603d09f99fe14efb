import { type GraphNode, outputKey, type TensorRef, type ValueInfo } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import type { PartialValue } from "./shapes.js";

/** What is known of a node's outputs, in order. */
export interface NodeKnowledge {
  readonly infos: readonly ValueInfo[];
  /** Known elements of small integer values. */
  readonly values: readonly (PartialValue | undefined)[];
}

/** What is known of the values of a program before any request. */
export class Inference {
  readonly program: Program;
  /** Nodes in topological order. */
  readonly order: readonly GraphNode[];
  /** By name; absent for nodes that nothing is known of. */
  readonly nodes: ReadonlyMap<string, NodeKnowledge>;
  #infos: ReadonlyMap<string, ValueInfo> | undefined;

  constructor(program: Program, order: readonly GraphNode[], nodes: ReadonlyMap<string, NodeKnowledge>) {
    this.program = program;
    this.order = order;
    this.nodes = nodes;
  }

  /** Dtype and shape of a value; undefined for outputs of ops that nothing is known of. */
  info({ node, index }: TensorRef): ValueInfo | undefined {
    return this.nodes.get(node)?.infos[index];
  }

  /** Dtype and shape of a node's first output. */
  first(node: string): ValueInfo | undefined {
    return this.nodes.get(node)?.infos[0];
  }

  /** Known elements of a small integer value. */
  value({ node, index }: TensorRef): PartialValue | undefined {
    return this.nodes.get(node)?.values[index];
  }

  /** Dtypes and shapes of all values, by `refKey`. */
  get infos(): ReadonlyMap<string, ValueInfo> {
    if (this.#infos) return this.#infos;
    const infos = new Map<string, ValueInfo>();
    for (const [name, node] of this.nodes) {
      for (let i = 0; i < node.infos.length; i++) infos.set(outputKey(name, i), node.infos[i]!);
    }
    return (this.#infos = infos);
  }
}
