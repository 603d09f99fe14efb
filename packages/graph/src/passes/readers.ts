import { type GraphNode, outputKey, refKey, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";

/** Who reads each value of a program. */
export class Readers {
  readonly #readers = new Map<string, GraphNode[]>();
  readonly #outputs: readonly string[];
  readonly #fetched: ReadonlySet<string>;

  constructor({ graph, outputs }: Program) {
    for (const node of graph.values()) {
      for (const key of new Set(node.inputs.map(refKey))) {
        const list = this.#readers.get(key);
        if (list) list.push(node);
        else this.#readers.set(key, [node]);
      }
    }
    this.#outputs = outputs.map(refKey);
    this.#fetched = new Set(this.#outputs);
  }

  /** Nodes that read a value, each once. */
  of(ref: TensorRef): readonly GraphNode[] {
    return this.#readers.get(refKey(ref)) ?? [];
  }

  /** True for an output of the program. */
  isFetched(ref: TensorRef): boolean {
    return this.#fetched.has(refKey(ref));
  }

  /** Nodes that read a value, through Identity too; undefined where it is also an output of the program. */
  throughIdentity(ref: TensorRef): readonly GraphNode[] | undefined {
    const same = new Set([refKey(ref)]);
    const readers: GraphNode[] = [];
    for (const key of same) {
      for (const node of this.#readers.get(key) ?? []) {
        if (node.op === "Identity") same.add(outputKey(node.name));
        else readers.push(node);
      }
    }
    return [...same].some((key) => this.#fetched.has(key)) ? undefined : readers;
  }

  /** How many nodes read a value, and how often it is an output. */
  useCount(ref: TensorRef): number {
    const key = refKey(ref);
    return this.of(ref).length + this.#outputs.filter((output) => output === key).length;
  }
}
