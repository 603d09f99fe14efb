/** Recurrent cells of TensorFlow 1 that are one op: LSTM by the step or by the sequence, GRU by the step. */
import type { Tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { numberArray, type NumberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { Turns } from "../call/turns.js";

/** Which quarter of the gates is the candidate for the cell, and which the forget gate; input is first, output last. */
interface GateOrder {
  readonly candidate: 1 | 2;
  readonly forget: 1 | 2;
}

const ICFO: GateOrder = { candidate: 1, forget: 2 };
const IFCO: GateOrder = { candidate: 2, forget: 1 };

interface Sizes {
  readonly steps: number;
  readonly batch: number;
  readonly input: number;
  readonly cell: number;
}

/** What a row of an LSTM is made with. */
interface Lstm {
  readonly order: GateOrder;
  readonly sizes: Sizes;
  /** [input + cell, 4 x cell] */
  readonly weights: NumberArray;
  readonly bias: NumberArray;
  readonly peepholes:
    | { readonly input: NumberArray; readonly forget: NumberArray; readonly output: NumberArray }
    | undefined;
  readonly forgetBias: number;
  /** The largest magnitude of a cell; none where this is not above 0. */
  readonly clip: number;
  readonly round: (value: number) => number;
  /** Room for the sums of one row: 4 x cell. */
  readonly sums: Float64Array;
}

/** In the order of the op's outputs, each [steps, batch, cell]. */
interface LstmOutputs {
  readonly input: NumberArray;
  readonly cell: NumberArray;
  readonly forget: NumberArray;
  readonly output: NumberArray;
  readonly candidate: NumberArray;
  readonly squashed: NumberArray;
  readonly hidden: NumberArray;
}

/** Cells and hidden states of the step before; the row that is meant begins at an offset into both. */
interface LstmState {
  readonly cell: NumberArray;
  readonly hidden: NumberArray;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Adds to `sums` the product of a row vector with as many rows of `weights`, from `firstRow` on. */
function addProduct(
  sums: Float64Array,
  vector: NumberArray,
  from: number,
  count: number,
  weights: NumberArray,
  firstRow: number,
): void {
  const columns = sums.length;
  for (let k = 0; k < count; k++) {
    const value = vector[from + k]!;
    const row = (firstRow + k) * columns;
    for (let j = 0; j < columns; j++) sums[j]! += value * weights[row + j]!;
  }
}

function addBias(sums: Float64Array, bias: NumberArray, round: (value: number) => number): void {
  for (let j = 0; j < sums.length; j++) sums[j] = round(round(sums[j]!) + bias[j]!);
}

/** One example in one step: x at `xAt`, the state before at `beforeAt`, the results at `at`. Every step rounds, as in TensorFlow. */
function lstmRow(
  lstm: Lstm,
  x: NumberArray,
  xAt: number,
  before: LstmState,
  beforeAt: number,
  out: LstmOutputs,
  at: number,
): void {
  const { order, sizes, weights, bias, peepholes, forgetBias, clip, round, sums } = lstm;
  const n = sizes.cell;
  sums.fill(0);
  addProduct(sums, x, xAt, sizes.input, weights, 0);
  addProduct(sums, before.hidden, beforeAt, n, weights, sizes.input);
  addBias(sums, bias, round);
  for (let c = 0; c < n; c++) {
    const cellBefore = before.cell[beforeAt + c]!;
    let inputSum = sums[c]!;
    let forgetSum = round(sums[order.forget * n + c]! + forgetBias);
    let outputSum = sums[3 * n + c]!;
    if (peepholes) {
      inputSum = round(inputSum + round(cellBefore * peepholes.input[c]!));
      forgetSum = round(forgetSum + round(cellBefore * peepholes.forget[c]!));
    }
    const input = round(sigmoid(inputSum));
    const forget = round(sigmoid(forgetSum));
    const candidate = round(Math.tanh(sums[order.candidate * n + c]!));
    let cell = round(round(input * candidate) + round(forget * cellBefore));
    if (clip > 0) cell = Math.min(Math.max(cell, -clip), clip);
    if (peepholes) outputSum = round(outputSum + round(cell * peepholes.output[c]!));
    const output = round(sigmoid(outputSum));
    const squashed = round(Math.tanh(cell));
    out.input[at + c] = input;
    out.cell[at + c] = cell;
    out.forget[at + c] = forget;
    out.output[at + c] = output;
    out.candidate[at + c] = candidate;
    out.squashed[at + c] = squashed;
    out.hidden[at + c] = output * squashed;
  }
}

/** Inputs of both LSTM ops from x on; a sequence has one more before. */
interface LstmInputs {
  readonly x: Tensor;
  readonly cell: Tensor;
  readonly hidden: Tensor;
  readonly weights: Tensor;
  readonly peepholes: readonly [Tensor, Tensor, Tensor];
  readonly bias: Tensor;
}

function lstmInputs(op: OpCall, first: number): LstmInputs {
  const [x, cell, hidden, weights, wci, wcf, wco, bias] = op.tensors(first, first + 8);
  return {
    x: x!,
    cell: cell!,
    hidden: hidden!,
    weights: weights!,
    peepholes: [wci!, wcf!, wco!],
    bias: bias!,
  };
}

const PEEPHOLE_NAMES = ["wci", "wcf", "wco"] as const;

function checkRank(value: Tensor, name: string, rank: number): void {
  check(value.shape.length === rank, () => `${name} must be rank ${rank} but is rank ${value.shape.length}.`);
}

function checkDim(value: Tensor, name: string, axis: number, expected: number, meaning: string): void {
  check(
    value.shape[axis] === expected,
    () => `${name}.dim_size(${axis}) != ${meaning}: ${value.shape[axis]} vs. ${expected}`,
  );
}

/** @param mustFit  whether peepholes that are not used must have their size too */
function lstmSizes({ x, cell, hidden, weights, peepholes, bias }: LstmInputs, xRank: number, mustFit: boolean): Sizes {
  checkRank(x, "x", xRank);
  checkRank(cell, "cs_prev", 2);
  checkRank(hidden, "h_prev", 2);
  checkRank(weights, "w", 2);
  checkRank(bias, "b", 1);
  const [batch, input] = x.shape.slice(-2) as [number, number];
  const size = cell.shape[1]!;
  checkDim(cell, "cs_prev", 0, batch, "batch_size");
  checkDim(hidden, "h_prev", 0, batch, "batch_size");
  checkDim(hidden, "h_prev", 1, size, "cell_size");
  checkDim(weights, "w", 0, input + size, "input_size + cell_size");
  checkDim(weights, "w", 1, size * 4, "cell_size * 4");
  checkDim(bias, "b", 0, size * 4, "cell_size * 4");
  for (const [i, peephole] of peepholes.entries()) {
    checkRank(peephole, PEEPHOLE_NAMES[i]!, 1);
    if (mustFit) checkDim(peephole, PEEPHOLE_NAMES[i]!, 0, size, "cell_size");
  }
  return { steps: xRank === 3 ? x.shape[0]! : 1, batch, input, cell: size };
}

/** The first `steps` of the sequence; behind them all outputs are 0. */
async function runLstm(
  op: OpCall,
  inputs: LstmInputs,
  sizes: Sizes,
  order: GateOrder,
  steps: number,
): Promise<Tensor[]> {
  const { dtype } = inputs.x;
  const round = roundingOf(dtype);
  const [wci, wcf, wco] = inputs.peepholes.map(numbersOf) as [NumberArray, NumberArray, NumberArray];
  const lstm: Lstm = {
    order,
    sizes,
    weights: numbersOf(inputs.weights),
    bias: numbersOf(inputs.bias),
    peepholes: op.attrs.bool("use_peephole") ? { input: wci, forget: wcf, output: wco } : undefined,
    forgetBias: op.attrs.has("forget_bias") ? round(op.attrs.float("forget_bias")) : 0,
    clip: round(op.attrs.float("cell_clip")),
    round,
    sums: new Float64Array(4 * sizes.cell),
  };
  const perStep = sizes.batch * sizes.cell;
  const make = (): NumberArray => numberArray(dtype, sizes.steps * perStep);
  const out: LstmOutputs = {
    input: make(),
    cell: make(),
    forget: make(),
    output: make(),
    candidate: make(),
    squashed: make(),
    hidden: make(),
  };
  const x = numbersOf(inputs.x);
  const start: LstmState = { cell: numbersOf(inputs.cell), hidden: numbersOf(inputs.hidden) };
  const turns = new Turns(op);
  const perRow = (sizes.input + sizes.cell) * 4 * sizes.cell;
  for (let t = 0; t < steps; t++) {
    for (let b = 0; b < sizes.batch; b++) {
      const at = t * perStep + b * sizes.cell;
      const xAt = (t * sizes.batch + b) * sizes.input;
      if (t === 0) lstmRow(lstm, x, xAt, start, at, out, at);
      else lstmRow(lstm, x, xAt, out, at - perStep, out, at);
      if (turns.isDue(perRow)) await turns.next();
    }
    // The next step reads hidden states as the dtype holds them.
    if (dtype === "float16")
      for (let i = t * perStep; i < (t + 1) * perStep; i++) out.hidden[i] = round(out.hidden[i]!);
  }
  const shape = [...(inputs.x.shape.length === 3 ? [sizes.steps] : []), sizes.batch, sizes.cell];
  return [out.input, out.cell, out.forget, out.output, out.candidate, out.squashed, out.hidden].map((numbers) =>
    numbersTensor(dtype, shape, numbers),
  );
}

function lstmCell(op: OpCall): Promise<Tensor[]> {
  const inputs = lstmInputs(op, 0);
  const sizes = lstmSizes(inputs, 2, op.attrs.bool("use_peephole"));
  check(sizes.batch > 0 && sizes.cell > 0, () => `cs_prev_tensor is empty, has shape: (${sizes.batch},${sizes.cell}).`);
  return runLstm(op, inputs, sizes, ICFO, 1);
}

function lstmSequence(order: GateOrder): Kernel {
  return (op) => {
    check(
      op.tensor(0).shape.length === 0,
      () => `\`seq_len_max_tensor\` must be rank 0 but is rank ${op.tensor(0).shape.length}`,
    );
    const inputs = lstmInputs(op, 1);
    const sizes = lstmSizes(inputs, 3, true);
    const steps = integerOf(op.tensor(0));
    check(steps >= 0 && steps <= sizes.steps, () => `seq_len_max must be between 0 and ${sizes.steps} but is ${steps}`);
    return runLstm(op, inputs, sizes, order, steps);
  };
}

/** Reset and update gates, candidate, new state, each [batch, cell]. */
async function gruCell(op: OpCall): Promise<Tensor[]> {
  const [x, before, gateWeights, weights, gateBias, bias] = op.tensors(0, 6) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  checkRank(x, "x", 2);
  checkRank(before, "h_prev", 2);
  checkRank(gateWeights, "w_ru", 2);
  checkRank(weights, "w_c", 2);
  checkRank(gateBias, "b_ru", 1);
  checkRank(bias, "b_c", 1);
  const [batch, input] = x.shape as [number, number];
  const cell = before.shape[1]!;
  checkDim(before, "h_prev", 0, batch, "batch_size");
  checkDim(gateWeights, "w_ru", 0, input + cell, "input_size + cell_size");
  checkDim(gateWeights, "w_ru", 1, cell * 2, "cell_size * 2");
  checkDim(weights, "w_c", 0, input + cell, "input_size + cell_size");
  checkDim(weights, "w_c", 1, cell, "cell_size");
  checkDim(gateBias, "b_ru", 0, cell * 2, "cell_size * 2");
  checkDim(bias, "b_c", 0, cell, "cell_size");
  const { dtype } = x;
  const round = roundingOf(dtype);
  const [xs, hs, wru, wc, bru, bc] = [x, before, gateWeights, weights, gateBias, bias].map(numbersOf) as [
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
    NumberArray,
  ];
  const make = (): NumberArray => numberArray(dtype, batch * cell);
  const [reset, update, candidate, hidden] = [make(), make(), make(), make()];
  const gates = new Float64Array(2 * cell);
  const sums = new Float64Array(cell);
  const kept = numberArray(dtype, cell);
  const turns = new Turns(op);
  for (let b = 0, at = 0; b < batch; b++, at += cell) {
    gates.fill(0);
    addProduct(gates, xs, b * input, input, wru, 0);
    addProduct(gates, hs, at, cell, wru, input);
    addBias(gates, bru, round);
    for (let c = 0; c < cell; c++) {
      reset[at + c] = sigmoid(gates[c]!);
      update[at + c] = sigmoid(gates[cell + c]!);
      kept[c] = hs[at + c]! * reset[at + c]!;
    }
    sums.fill(0);
    addProduct(sums, xs, b * input, input, wc, 0);
    addProduct(sums, kept, 0, cell, wc, input);
    addBias(sums, bc, round);
    for (let c = 0; c < cell; c++) {
      const u = update[at + c]!;
      candidate[at + c] = Math.tanh(sums[c]!);
      hidden[at + c] = round(u * hs[at + c]!) + round(round(1 - u) * candidate[at + c]!);
    }
    if (turns.isDue((input + cell) * 3 * cell)) await turns.next();
  }
  return [reset, update, candidate, hidden].map((numbers) => numbersTensor(dtype, [batch, cell], numbers));
}

export const RECURRENT_KERNELS: Readonly<Record<string, Kernel>> = {
  LSTMBlockCell: lstmCell,
  BlockLSTM: lstmSequence(ICFO),
  BlockLSTMV2: lstmSequence(IFCO),
  GRUBlockCell: gruCell,
};
