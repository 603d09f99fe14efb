import { type GraphNode, refKey, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";

/** Who reads each value of a program. */
export class Readers {
  readonly #readers = new Map<string, GraphNode[]>();
  readonly #fetched: ReadonlySet<string>;

  constructor({ graph, outputs }: Program) {
    for (const node of graph.values()) {
      for (const key of new Set(node.inputs.map(refKey))) {
        const list = this.#readers.get(key);
        if (list) list.push(node);
        else this.#readers.set(key, [node]);
      }
    }
    this.#fetched = new Set(outputs.map(refKey));
  }

  /** Nodes that read a value, each once. */
  of(ref: TensorRef): readonly GraphNode[] {
    return this.#readers.get(refKey(ref)) ?? [];
  }

  /** True for an output of the program. */
  isFetched(ref: TensorRef): boolean {
    return this.#fetched.has(refKey(ref));
  }
}
