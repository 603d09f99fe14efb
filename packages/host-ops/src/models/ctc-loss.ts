/** The loss of connectionist temporal classification, and its gradient: how unlikely class scores are to spell the labels. */
import { type Tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { numberArray, type NumberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { logSum, NEVER, pause, type Rounding, roundingOf, TURN_MASK } from "./ctc.js";

/** The labels of each example, from a sparse matrix [example, position]. */
function labelsAt(op: OpCall, batch: number): number[][] {
  const [indices, values] = [op.tensor(1), op.tensor(2)];
  const [ids, labels] = [integersOf(indices), integersOf(values)];
  const sequences: number[][] = Array.from({ length: batch }, () => []);
  for (let i = 0; i < labels.length; i++) {
    const [example, position] = [ids[2 * i]!, ids[2 * i + 1]!];
    const say = (what: string) =>
      invalid(`label SparseTensor is not valid: indices[${i}] = [${example},${position}] ${what}`);
    if (!(example >= 0 && example < batch && position >= 0)) throw say(`is out of bounds: there are ${batch} examples`);
    if (i > 0) {
      const step = example - ids[2 * i - 2]! || position - ids[2 * i - 1]!;
      if (step <= 0) throw say(step === 0 ? "is repeated" : "is out of order");
    }
    sequences[example]!.push(labels[i]!);
  }
  return sequences;
}

/** What is to be spelt: the labels with blanks (the last class) before, between and after them. */
function statesOf(labels: readonly number[], b: number, classes: number, collapses: boolean): Int32Array {
  const blank = classes - 1;
  const kept: number[] = [];
  let isOver = false;
  for (const [i, label] of labels.entries()) {
    if (collapses && i > 0 && label === labels[i - 1]) continue;
    if (label >= blank) {
      isOver = true;
      continue;
    }
    if (isOver) {
      throw invalid(
        `Saw a non-null label (index >= num_classes - 1) following a null label, batch: ${b} num_classes: ${classes} labels: ${labels.join(",")} labels seen so far: ${kept.join(",")}`,
      );
    }
    kept.push(label);
  }
  check(
    kept.every((label) => label >= 0),
    () => `All labels must be nonnegative integers, batch: ${b} labels: ${kept.join(",")}`,
  );
  const states = new Int32Array(2 * kept.length + 1).fill(blank);
  for (const [i, label] of kept.entries()) states[2 * i + 1] = label;
  return states;
}

/** One example: logarithms of the probabilities [time, classes], and the states that a path goes through. */
interface Lattice {
  readonly logs: NumberArray;
  readonly time: number;
  readonly classes: number;
  readonly states: Int32Array;
  /** Whether a path may stay in a label. */
  readonly merges: boolean;
  /** To the precision of the scores: gradients are small differences, which show how each sum was rounded. */
  readonly round: Rounding;
}

const blankOf = ({ classes }: Lattice): number => classes - 1;

function maySkipTo(lattice: Lattice, u: number): boolean {
  const { states, merges } = lattice;
  return u > 1 && states[u] !== blankOf(lattice) && !(merges && states[u] === states[u - 2]);
}

/** The states that a path can be in at a time: it starts in one of the first two and ends in one of the last two. */
function reach({ states, time }: Lattice, t: number): [from: number, to: number] {
  return [Math.max(0, states.length - 2 * (time - t)), Math.min(states.length, 2 * (t + 1))];
}

/** By time and state: the probability of all ways there, with that time's own. */
async function forward(op: OpCall, lattice: Lattice): Promise<Float64Array> {
  const { logs, time, classes, states, merges, round } = lattice;
  const count = states.length;
  const ways = new Float64Array(time * count).fill(NEVER);
  for (let u = 0; u < Math.min(2, count); u++) ways[u] = logs[states[u]!]!;
  for (let t = 1; t < time; t++) {
    const [now, before] = [t * count, (t - 1) * count];
    const [from, to] = reach(lattice, t);
    for (let u = from; u < to; u++) {
      let sum = merges || states[u] === blankOf(lattice) ? ways[before + u]! : NEVER;
      if (u > 0) sum = logSum(sum, ways[before + u - 1]!, round);
      if (maySkipTo(lattice, u)) sum = logSum(sum, ways[before + u - 2]!, round);
      ways[now + u] = round(logs[t * classes + states[u]!]! + sum);
    }
    if ((t & TURN_MASK) === TURN_MASK) await pause(op);
  }
  return ways;
}

/** By time and state: the probability of all ways on from there, without that time's own. */
async function backward(op: OpCall, lattice: Lattice): Promise<Float64Array> {
  const { logs, time, classes, states, merges, round } = lattice;
  const count = states.length;
  const ways = new Float64Array(time * count).fill(NEVER);
  ways.fill(0, Math.max(ways.length - 2, (time - 1) * count));
  for (let t = time - 2; t >= 0; t--) {
    const [now, after] = [t * count, (t + 1) * count];
    const onward = (u: number) => round(ways[after + u]! + logs[(t + 1) * classes + states[u]!]!);
    const [from, to] = reach(lattice, t);
    for (let u = from; u < to; u++) {
      let sum = merges || states[u] === blankOf(lattice) ? onward(u) : NEVER;
      if (u + 1 < count) sum = logSum(sum, onward(u + 1), round);
      if (u + 2 < count && maySkipTo(lattice, u + 2)) sum = logSum(sum, onward(u + 2), round);
      ways[now + u] = sum;
    }
    if ((t & TURN_MASK) === TURN_MASK) await pause(op);
  }
  return ways;
}

/** Softmax of the scores [time, batch, classes] of one example, rounded as its dtype is. */
function probabilities(scores: NumberArray, b: number, batch: number, time: number, classes: number): NumberArray {
  const kind = scores instanceof Float64Array ? Float64Array : Float32Array;
  const out = new kind(time * classes);
  for (let t = 0; t < time; t++) {
    const row = scores.subarray((t * batch + b) * classes, (t * batch + b + 1) * classes);
    let most = NEVER;
    for (let c = 0; c < classes; c++) most = Math.max(most, row[c]!);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += out[t * classes + c] = Math.exp(row[c]! - most);
    for (let c = 0; c < classes; c++) out[t * classes + c] = out[t * classes + c]! / sum;
  }
  return out;
}

async function ctcLoss(op: OpCall): Promise<Tensor[]> {
  const [inputs, indices, values, sequenceLength] = [op.tensor(0), op.tensor(1), op.tensor(2), op.tensor(3)];
  check(inputs.shape.length === 3, () => "inputs is not a 3-Tensor");
  check(sequenceLength.shape.length === 1, () => "sequence_length is not a vector");
  check(indices.shape.length === 2, () => "labels_indices is not a matrix");
  check(indices.shape[1] === 2, () => `labels_indices must have 2 columns, has shape ${printShape(indices.shape)}`);
  check(values.shape.length === 1, () => "labels_values is not a vector");
  const [longest, batch, classes] = inputs.shape as [number, number, number];
  check(longest !== 0, () => "Max time or first dimension of input cannot be 0.");
  check(
    batch === sequenceLength.shape[0],
    () => `len(sequence_length) != batch_size.  len(sequence_length):  ${sequenceLength.shape[0]} batch_size: ${batch}`,
  );
  check(
    indices.shape[0] === values.shape[0],
    () =>
      `labels_indices and labels_values must contain the same number of rows, but saw shapes: ${printShape(indices.shape)} vs. ${printShape(values.shape)}`,
  );
  check(batch !== 0, () => "batch_size must not be 0");
  const sequences = labelsAt(op, batch);
  const lengths = integersOf(sequenceLength);
  for (let b = 0; b < batch; b++) {
    check(lengths[b]! <= longest, () => `sequence_length(${b}) <= ${longest}`);
    check(lengths[b]! >= 0, () => `seq_len(${b}) < 0`);
  }
  const [collapses, merges] = [op.attrs.bool("preprocess_collapse_repeated"), op.attrs.bool("ctc_merge_repeated")];
  const ignoresLonger = op.attrs.bool("ignore_longer_outputs_than_inputs");
  const paths = sequences.map((labels, b) => {
    check(labels.length > 0, () => `Labels length is zero in batch ${b}`);
    const states = statesOf(labels, b, classes, collapses);
    check(
      ignoresLonger || labels.length <= lengths[b]!,
      () =>
        `Not enough time for target transition sequence (required: ${labels.length}, available: ${lengths[b]})${b}You can turn this error into a warning by using the flag ignore_longer_outputs_than_inputs`,
    );
    return states;
  });

  const { dtype } = inputs;
  const scores = numbersOf(inputs);
  const losses = numberArray(dtype, batch);
  const gradient = numberArray(dtype, scores.length);
  for (let b = 0; b < batch; b++) {
    const time = lengths[b]!;
    if (time === 0 || sequences[b]!.length > time) continue;
    const chances = probabilities(scores, b, batch, time, classes);
    const logs = chances.map(Math.log);
    const lattice: Lattice = { logs, time, classes, states: paths[b]!, merges, round: roundingOf(dtype) };
    const [there, onward] = [await forward(op, lattice), await backward(op, lattice)];
    losses[b] = -writeGradient(lattice, chances, there, onward, gradient, b, batch);
    await pause(op);
  }
  return [numbersTensor(dtype, [batch], losses), numbersTensor(dtype, inputs.shape, gradient)];
}

/** @returns the logarithm of the probability of the labels */
function writeGradient(
  { time, classes, states, round }: Lattice,
  chances: NumberArray,
  there: Float64Array,
  onward: Float64Array,
  gradient: NumberArray,
  b: number,
  batch: number,
): number {
  let likelihood = NEVER;
  for (let u = 0; u < states.length; u++) likelihood = logSum(likelihood, round(there[u]! + onward[u]!), round);
  const ofClass = new Float64Array(classes);
  for (let t = 0; t < time; t++) {
    ofClass.fill(NEVER);
    for (let u = 0; u < states.length; u++) {
      const at = t * states.length + u;
      ofClass[states[u]!] = logSum(ofClass[states[u]!]!, round(there[at]! + onward[at]!), round);
    }
    for (let c = 0; c < classes; c++) {
      // TensorFlow takes this in float32 whatever the dtype.
      const share = likelihood === NEVER ? 0 : Math.fround(Math.exp(Math.fround(round(ofClass[c]! - likelihood))));
      gradient[(t * batch + b) * classes + c] = chances[t * classes + c]! - share;
    }
  }
  return likelihood;
}

export const CTC_LOSS_KERNELS: Readonly<Record<string, Kernel>> = { CTCLoss: ctcLoss };
