import type { TensorRef } from "@shardserve/graph";
import type { RegionReader } from "./region-reader.js";

/** What a turn of a recurrent layer adds up before a gate's function: a row of the input and the state, each times weights, and biases. */
export interface Linear {
  /** Position among the loop's inputs of the rows. */
  readonly rows?: number | undefined;
  readonly kernel?: TensorRef | undefined;
  readonly recurrent?: TensorRef | undefined;
  readonly biases: readonly TensorRef[];
}

/** Sums of no more terms are read. */
const TERMS_DEPTH_MAX = 4;

export class LinearReader {
  readonly #reader: RegionReader;
  readonly #counter: number;
  readonly #hidden: number;

  constructor(reader: RegionReader, counter: number, hidden: number) {
    this.#reader = reader;
    this.#counter = counter;
    this.#hidden = hidden;
  }

  /** Undefined for sums of other terms, or of two of one kind other than biases. */
  of(ref: TensorRef, depth = TERMS_DEPTH_MAX): Linear | undefined {
    const reader = this.#reader;
    const [factor, weights] = reader.matMul(ref) ?? [];
    if (factor && weights) {
      if (!reader.isFixed(weights)) return undefined;
      if (reader.variable(factor) === this.#hidden) return { recurrent: weights, biases: [] };
      const rows = reader.rowOf(factor, this.#counter);
      return rows === undefined ? undefined : { rows, kernel: weights, biases: [] };
    }
    const [biased, bias] = reader.inputs(ref, "BiasAdd") ?? [];
    if (biased && bias) {
      const inner = this.of(biased, depth);
      return inner && reader.isFixed(bias) ? { ...inner, biases: [...inner.biases, bias] } : undefined;
    }
    const terms = depth > 0 ? reader.terms(ref) : undefined;
    return terms && this.sum(terms, depth - 1);
  }

  sum(terms: readonly TensorRef[], depth = TERMS_DEPTH_MAX): Linear | undefined {
    return terms
      .map((term) => this.of(term, depth))
      .reduce((a, b) => {
        if (!a || !b || (a.kernel && b.kernel) || (a.recurrent && b.recurrent)) return undefined;
        return { ...a, ...b, biases: [...a.biases, ...b.biases] };
      });
  }
}
