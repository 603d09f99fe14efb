/** Connectionist temporal classification: the labels that a sequence of class scores spells, greedily or by beam search. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { type DType, type Tensor, tensor } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { numberArray, type NumberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";

/** Scores [time, batch, classes], and how much of the time each example has. */
interface Scores {
  readonly dtype: DType;
  readonly values: NumberArray;
  readonly batch: number;
  readonly classes: number;
  readonly lengths: ArrayLike<number>;
}

function scoresOf(op: OpCall): Scores {
  const [inputs, lengths] = [op.tensor(0), op.tensor(1)];
  check(inputs.shape.length === 3, () => "inputs is not a 3-Tensor");
  check(lengths.shape.length === 1, () => `sequence_length is not a vector: ${printShape(lengths.shape)}`);
  const [time, batch, classes] = inputs.shape as [number, number, number];
  check(time > 0, () => "max_time is 0");
  check(batch > 0, () => "batch_size is 0");
  if (lengths.shape[0] !== batch) {
    throw new ServingError(
      "FAILED_PRECONDITION",
      `len(sequence_length) != batch_size.  len(sequence_length):  ${lengths.shape[0]} batch_size: ${batch}`,
    );
  }
  const list = integersOf(lengths);
  for (let i = 0; i < batch; i++) {
    if (!(list[i]! <= time)) {
      throw new ServingError("FAILED_PRECONDITION", `sequence_length(${i}) <= ${time}`);
    }
  }
  return { dtype: inputs.dtype, values: numbersOf(inputs), batch, classes, lengths: list };
}

/** Indices, values and shape of the sparse tensor [example, position] of labels. */
function sparseLabels(sequences: readonly (readonly number[])[]): Tensor[] {
  const total = sequences.reduce((sum, { length }) => sum + length, 0);
  const indices = allocate("int64", 2 * total);
  const values = allocate("int64", total);
  let at = 0;
  for (const [b, labels] of sequences.entries()) {
    for (const [i, label] of labels.entries()) {
      indices[2 * at] = BigInt(b);
      indices[2 * at + 1] = BigInt(i);
      values[at++] = BigInt(label);
    }
  }
  const longest = sequences.reduce((most, { length }) => Math.max(most, length), 0);
  const shape = BigInt64Array.of(BigInt(sequences.length), BigInt(longest));
  return [tensor("int64", [total, 2], indices), tensor("int64", [total], values), tensor("int64", [2], shape)];
}

function greedy(op: OpCall): Tensor[] {
  const { dtype, values, batch, classes, lengths } = scoresOf(op);
  const merges = op.attrs.bool("merge_repeated");
  const asked = op.attrs.int("blank_index");
  const blank = asked < 0 ? classes + asked : asked;
  check(
    blank >= 0 && blank < classes,
    () => `blank_index expected to be between ${-classes} and ${classes - 1} but was ${asked}`,
  );
  const sums = numberArray(dtype, batch);
  const sequences: number[][] = [];
  for (let b = 0; b < batch; b++) {
    const labels: number[] = [];
    let before = -1;
    for (let t = 0; t < lengths[b]!; t++) {
      const row = (t * batch + b) * classes;
      let best = 0;
      for (let c = 1; c < classes; c++) if (values[row + best]! < values[row + c]!) best = c;
      sums[b] = sums[b]! - values[row + best]!;
      if (best !== blank && !(merges && best === before)) labels.push(best);
      before = best;
    }
    sequences.push(labels);
  }
  return [...sparseLabels(sequences), numbersTensor(dtype, [batch, 1], sums)];
}

/** The logarithm of the probability of what cannot be. */
export const NEVER = Number.NEGATIVE_INFINITY;

/** The probabilities (logarithms) that a prefix ends in a blank, in its label, or either way. */
interface Odds {
  blank: number;
  label: number;
  total: number;
}

/** A prefix: its last label, and the prefix before that. */
interface Prefix {
  readonly parent: Prefix | undefined;
  readonly label: number;
  readonly children: Map<number, Prefix>;
  old: Odds;
  now: Odds;
}

const noOdds = (): Odds => ({ blank: NEVER, label: NEVER, total: NEVER });

function prefix(parent: Prefix | undefined, label: number): Prefix {
  return { parent, label, children: new Map(), old: noOdds(), now: noOdds() };
}

export type Rounding = (value: number) => number;

export function roundingOf(dtype: DType): Rounding {
  return dtype === "float32" ? Math.fround : (value) => value;
}

/** The logarithm of the sum of two probabilities, from theirs. */
export function logSum(a: number, b: number, round: Rounding): number {
  if (a === NEVER) return b;
  if (b === NEVER) return a;
  return round(Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))));
}

/** The most probable prefixes, at most `width`, least probable at the end. */
class Beam {
  readonly #width: number;
  entries: Prefix[] = [];

  constructor(width: number) {
    this.#width = width;
  }

  takes(odds: Odds): boolean {
    return odds.total > NEVER && (this.entries.length < this.#width || odds.total > this.entries.at(-1)!.now.total);
  }

  /** Takes one in; who falls out for it loses its odds. */
  push(entry: Prefix): void {
    if (this.entries.length === this.#width) this.entries.pop()!.now = noOdds();
    let [from, to] = [0, this.entries.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.entries[middle]!.now.total >= entry.now.total) from = middle + 1;
      else to = middle;
    }
    this.entries.splice(from, 0, entry);
  }
}

/** One time step, as in tensorflow/core/util/ctc/ctc_beam_search.h; the last class is the blank. */
function step(before: Beam, width: number, scores: NumberArray, round: Rounding): Beam {
  const blank = scores.length - 1;
  let most = NEVER;
  for (let c = 0; c < scores.length; c++) most = Math.max(most, scores[c]!);
  let sum = 0;
  for (let c = 0; c < scores.length; c++) sum += Math.exp(scores[c]! - most);
  const norm = most + Math.log(sum);
  const after = new Beam(width);
  const branches = before.entries;
  for (const branch of branches) branch.old = branch.now;
  for (const branch of branches) {
    const { parent, old } = branch;
    let label = branch.now.label;
    if (parent) {
      if (parent.now.total !== NEVER) {
        label = logSum(label, branch.label === parent.label ? parent.old.blank : parent.old.total, round);
      }
      label = round(label + scores[branch.label]! - norm);
    }
    const ofBlank = round(old.total + scores[blank]! - norm);
    branch.now = { blank: ofBlank, label, total: logSum(ofBlank, label, round) };
  }
  for (const branch of branches) after.push(branch);
  for (const branch of branches) {
    if (!after.takes(branch.old)) continue;
    for (let c = 0; c < blank; c++) {
      const child = branch.children.get(c) ?? prefix(branch, c);
      branch.children.set(c, child);
      if (child.now.total !== NEVER) continue;
      const label = round(scores[c]! - norm + (c === branch.label ? branch.old.blank : branch.old.total));
      const odds: Odds = { blank: NEVER, label, total: label };
      if (after.takes(odds)) {
        child.now = odds;
        after.push(child);
      } else child.old = noOdds(); // it may have been in the beam, and is not to grow from there
    }
  }
  return after;
}

function labelsOf(end: Prefix, merges: boolean): number[] {
  const labels: number[] = [];
  let before = -1;
  for (let at = end; at.parent; at = at.parent) {
    if (!merges || at.label !== before) labels.push(at.label);
    before = at.label;
  }
  return labels.reverse();
}

async function beamSearch(op: OpCall): Promise<Tensor[]> {
  const { dtype, values, batch, classes, lengths } = scoresOf(op);
  const [width, paths] = [op.attrs.int("beam_width"), op.attrs.int("top_paths")];
  const merges = op.attrs.bool("merge_repeated");
  check(classes > 0, () => "num_classes is 0");
  check(paths <= width, () => "requested more paths than the beam width.");
  const round = roundingOf(dtype);
  const odds = numberArray(dtype, batch * paths);
  const sequences: number[][][] = Array.from({ length: paths }, () => []);
  for (let b = 0; b < batch; b++) {
    let beam = new Beam(width);
    const root = prefix(undefined, -1);
    root.now = { blank: 0, label: NEVER, total: 0 };
    beam.push(root);
    for (let t = 0; t < lengths[b]!; t++) {
      const row = (t * batch + b) * classes;
      beam = step(beam, width, values.subarray(row, row + classes), round);
      // A wide beam of many classes takes a while.
      if ((t & TURN_MASK) === TURN_MASK) await pause(op);
    }
    if (beam.entries.length < paths) throw invalid("Less leaves in the beam search than requested.");
    for (let p = 0; p < paths; p++) {
      sequences[p]!.push(labelsOf(beam.entries[p]!, merges));
      odds[b * paths + p] = beam.entries[p]!.now.total;
    }
  }
  const sparse = sequences.map(sparseLabels);
  return [
    ...[0, 1, 2].flatMap((part) => sparse.map((tensors) => tensors[part]!)),
    numbersTensor(dtype, [batch, paths], odds),
  ];
}

/** Time steps between turns of the event loop, less one. */
export const TURN_MASK = 7;

export async function pause(op: OpCall): Promise<void> {
  await nextTurn();
  op.signal?.throwIfAborted();
}

export const CTC_KERNELS: Readonly<Record<string, Kernel>> = {
  CTCGreedyDecoder: greedy,
  CTCBeamSearchDecoder: beamSearch,
};
