/** TensorFlow Text's n-grams of strings: every `width` neighbours in a row, joined. */
import { type StringColumn, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { JoinedRow } from "../strings/joined-row.js";
import { checkSplits, eachRow } from "./row-splits.js";

/** Joins the neighbours of one row after the other. */
class Joiner {
  readonly #tokens: StringColumn;
  readonly #width: number;
  readonly #row: JoinedRow;
  readonly out: StringColumnBuilder;

  constructor(op: OpCall) {
    const { attrs } = op;
    this.#tokens = op.strings(0);
    this.#width = attrs.int("width");
    this.#row = new JoinedRow(attrs.bytes("string_separator"));
    check(this.#width > 0, () => `width must be positive, got ${this.#width}`);
    check(attrs.int("axis") === -1, () => `axis != -1: ${attrs.int("axis")}`);
    this.out = new StringColumnBuilder(this.#tokens.length);
  }

  /** Appends the n-grams of tokens [start, end). */
  addRow(start: number, end: number): void {
    const { bytes, offsets } = this.#tokens;
    this.#row.clear();
    for (let i = start; i < end; i++) this.#row.add(bytes, offsets[i]!, offsets[i + 1]!);
    for (let first = 0; first + this.#width <= end - start; first++) this.#row.appendTo(this.out, first, this.#width);
  }
}

function ngrams(op: OpCall): Tensor[] {
  const { shape } = op.tensor(0);
  const joiner = new Joiner(op);
  const splits = op.tensors(1);
  if (splits.length === 0) {
    const length = shape.at(-1);
    check(length !== undefined, () => "n-grams of a scalar");
    const rows = shape.slice(0, -1);
    const count = rows.reduce((product, dim) => product * dim, 1);
    for (let row = 0; row < count; row++) joiner.addRow(row * length!, (row + 1) * length!);
    return [tensor("string", [...rows, Math.max(0, length! - op.attrs.int("width") + 1)], joiner.out.build())];
  }
  const inner = integersOf(splits.at(-1)!);
  const outSplits = [0];
  eachRow(inner, op.strings(0).length, "input_row_splits", (start, end) => {
    joiner.addRow(start, end);
    outSplits.push(joiner.out.length);
  });
  checkSplits(inner, "input_row_splits");
  const dtype = op.attrs.dtype("Tsplits");
  return [
    tensor("string", [joiner.out.length], joiner.out.build()),
    ...splits.slice(0, -1),
    withData(dtype, [outSplits.length], indexData(dtype, outSplits)),
  ];
}

export const TEXT_NGRAM_KERNELS: Readonly<Record<string, Kernel>> = { "TFText>NgramsStringJoin": ngrams };
