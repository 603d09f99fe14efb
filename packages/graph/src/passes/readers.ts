import { eachInPieces, type Pieces } from "@shardserve/core";
import { type GraphNode, outputKey, refKey, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";

/** Who reads each value of a program. */
export class Readers {
  readonly #readers = new Map<string, GraphNode[]>();
  readonly #outputs: readonly string[];
  readonly #fetched: ReadonlySet<string>;

  static *reading(program: Program): Pieces<Readers> {
    const readers = new Readers(program);
    yield* eachInPieces(program.graph.values(), (node) => readers.#add(node));
    return readers;
  }

  private constructor({ outputs }: Program) {
    this.#outputs = outputs.map(refKey);
    this.#fetched = new Set(this.#outputs);
  }

  #add(node: GraphNode): void {
    for (const ref of node.inputs) {
      const key = refKey(ref);
      const list = this.#readers.get(key);
      if (!list) this.#readers.set(key, [node]);
      else if (list.at(-1) !== node) list.push(node);
    }
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
