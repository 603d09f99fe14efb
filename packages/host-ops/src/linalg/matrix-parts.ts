/** Diagonals and bands of matrices. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { appender, build, takeRuns } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { countOf, integerOf, integersOf } from "../call/shapes.js";

/** Elements by their position in `sources[0]`, then `sources[1]`, ... */
function pickFrom(sources: readonly Tensor[], at: ArrayLike<number>, shape: readonly number[]): Tensor {
  const { dtype } = sources[0]!;
  const total = sources.reduce((sum, source) => sum + elementCount(source.shape), 0);
  const all = appender(dtype, total);
  for (const source of sources) all.append(source.data, 0, elementCount(source.shape));
  return takeRuns(build(dtype, [total], all), at, 1, shape);
}

function bandPart(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const rank = input.shape.length;
  check(rank >= 2, () => `input must be at least 2-dim, received shape: ${printShape(input.shape)}`);
  const [lower, upper] = [integerOf(op.tensor(1)), integerOf(op.tensor(2))];
  const [rows, columns] = input.shape.slice(-2) as [number, number];
  check(lower <= rows, () => `num_lower must be negative or less or equal to number of rows (${rows}) got: ${lower}`);
  check(
    upper <= columns,
    () => `num_upper must be negative or less or equal to number of columns (${columns}) got: ${upper}`,
  );
  const total = elementCount(input.shape);
  const at = new Float64Array(total);
  for (let i = 0; i < total; i++) {
    const [row, column] = [Math.floor(i / columns) % rows, i % columns];
    at[i] = (lower < 0 || row - column <= lower) && (upper < 0 || column - row <= upper) ? i : total;
  }
  return [pickFrom([input, zeroTensor(input.dtype, [1])], at, input.shape)];
}

/** The diagonals [low, high] that an op works on, and where each begins in its compact form. */
interface Diagonals {
  readonly low: number;
  readonly high: number;
  /** Of the longest diagonal. */
  readonly longest: number;
  readonly leftOfSuper: boolean;
  readonly leftOfSub: boolean;
}

function diagonalRange(op: OpCall, at: number): [number, number] {
  const k = op.tensor(at);
  check(k.shape.length <= 1, () => `diag_index must be a scalar or vector, received shape: ${printShape(k.shape)}`);
  const list = integersOf(k);
  check(
    list.length === 1 || list.length === 2,
    () => `diag_index must have only one or two elements, received ${list.length} elements.`,
  );
  const [low, high] = [list[0]!, list[list.length - 1]!];
  check(low <= high, () => `lower_diag_index must not be larger than upper_diag_index: ${low} > ${high}`);
  return [low, high];
}

function checkRange(low: number, high: number, rows: number, columns: number): void {
  const within = (k: number): boolean => (k > -rows && k < columns) || k === 0;
  check(within(low), () => `lower_diag_index is out of bound: ${low} It must be between ${-rows} and ${columns}`);
  check(within(high), () => `upper_diag_index is out of bound: ${high} It must be between ${-rows} and ${columns}`);
}

function diagonals(op: OpCall, low: number, high: number, rows: number, columns: number): Diagonals {
  const align = op.attrs.has("align") ? op.attrs.text("align") : "LEFT_LEFT";
  return {
    low,
    high,
    longest: Math.min(rows + Math.min(high, 0), columns - Math.max(low, 0)),
    leftOfSuper: align.startsWith("LEFT"),
    leftOfSub: align.endsWith("LEFT"),
  };
}

/** Calls back with every element of the diagonals: its row, column, and place in the compact form (highest first). */
function forEachOnDiagonals(
  d: Diagonals,
  rows: number,
  columns: number,
  callback: (row: number, column: number, compact: number) => void,
): void {
  for (let k = d.high; k >= d.low; k--) {
    const length = Math.min(rows + Math.min(k, 0), columns - Math.max(k, 0));
    const isLeft = (k >= 0 && d.leftOfSuper) || (k <= 0 && d.leftOfSub);
    const offset = (d.high - k) * d.longest + (isLeft ? 0 : d.longest - length);
    for (let i = 0; i < length; i++) callback(i + Math.max(-k, 0), i + Math.max(k, 0), offset + i);
  }
}

/** MatrixDiagPart: diagonals of matrices in compact form. */
function diagPart(isV1: boolean): Kernel {
  return (op) => {
    const input = op.tensor(0);
    const rank = input.shape.length;
    check(rank >= 2, () => `input must be at least 2-dim, received shape: ${printShape(input.shape)}`);
    const [rows, columns] = input.shape.slice(-2) as [number, number];
    const [low, high] = isV1 ? [0, 0] : diagonalRange(op, 1);
    checkRange(low, high, rows, columns);
    const d = diagonals(op, low, high, rows, columns);
    const batch = countOf(input.shape, 0, rank - 2);
    const size = (high - low + 1) * d.longest;
    const shape = [...input.shape.slice(0, -2), ...(low === high ? [] : [high - low + 1]), d.longest];
    checkedCount(input.dtype, shape);
    const total = elementCount(input.shape);
    const at = new Float64Array(batch * size).fill(total);
    for (let b = 0; b < batch; b++) {
      forEachOnDiagonals(d, rows, columns, (row, column, compact) => {
        at[b * size + compact] = (b * rows + row) * columns + column;
      });
    }
    const filler = isV1 ? zeroTensor(input.dtype, [1]) : op.tensor(2);
    check(elementCount(filler.shape) === 1, () => "padding_value must have only one element");
    return [pickFrom([input, filler], at, shape)];
  };
}

/** MatrixDiag: matrices with the given diagonals. */
function diag(isV1: boolean): Kernel {
  return (op) => {
    const diagonal = op.tensor(0);
    const rank = diagonal.shape.length;
    check(rank >= 1, () => `diagonal must be at least 1-dim, received shape: ${printShape(diagonal.shape)}`);
    const [low, high] = isV1 ? [0, 0] : diagonalRange(op, 1);
    const [longest, count] = [diagonal.shape[rank - 1]!, high - low + 1];
    check(
      low === high || (rank >= 2 && diagonal.shape[rank - 2] === count),
      () =>
        `The number of diagonals provided in the input does not match the lower_diag_index and upper_diag_index range.`,
    );
    let [rows, columns] = isV1 ? [longest, longest] : [integerOf(op.tensor(2)), integerOf(op.tensor(3))];
    const [rowsMin, columnsMin] = [longest - Math.min(high, 0), longest + Math.max(low, 0)];
    check(rows === -1 || rows >= rowsMin, () => "The number of rows is too small.");
    check(columns === -1 || columns >= columnsMin, () => "The number of columns is too small.");
    if (rows === -1 && columns === -1) rows = columns = Math.max(rowsMin, columnsMin);
    else if (rows === -1) rows = rowsMin;
    else if (columns === -1) columns = columnsMin;
    check(
      rows === rowsMin || columns === columnsMin,
      () => "The number of rows or columns is not consistent with the specified d_lower, d_upper, and diagonal.",
    );
    const d = diagonals(op, low, high, rows, columns);
    const outer = diagonal.shape.slice(0, low === high ? -1 : -2);
    const shape = [...outer, rows, columns];
    const total = checkedCount(diagonal.dtype, shape);
    const size = count * longest;
    const at = new Float64Array(total).fill(elementCount(diagonal.shape));
    for (let b = 0; b < countOf(outer, 0); b++) {
      forEachOnDiagonals(d, rows, columns, (row, column, compact) => {
        at[(b * rows + row) * columns + column] = b * size + compact;
      });
    }
    const filler = isV1 ? zeroTensor(diagonal.dtype, [1]) : op.tensor(4);
    return [pickFrom([diagonal, filler], at, shape)];
  };
}

function setDiag(isV1: boolean): Kernel {
  return (op) => {
    const [input, diagonal] = [op.tensor(0), op.tensor(1)];
    const rank = input.shape.length;
    check(rank >= 2, () => `input must be at least 2-dim, received shape: ${printShape(input.shape)}`);
    const [rows, columns] = input.shape.slice(-2) as [number, number];
    const [low, high] = isV1 ? [0, 0] : diagonalRange(op, 2);
    checkRange(low, high, rows, columns);
    const d = diagonals(op, low, high, rows, columns);
    const wanted = [...input.shape.slice(0, -2), ...(low === high ? [] : [high - low + 1]), d.longest];
    check(
      printShape(wanted) === printShape(diagonal.shape),
      () =>
        `Either first dimensions of diagonal don't match input.shape[:-2], or diagonal.shape[:-1] is not equal to the longests diagonal in range [lower_diag_index:upper_diag_index].\nInput shape: ${printShape(input.shape)}\nDiagonal shape: ${printShape(diagonal.shape)}\nExpected diagonal shape: ${printShape(wanted)}`,
    );
    const total = elementCount(input.shape);
    const size = (high - low + 1) * d.longest;
    const at = Float64Array.from({ length: total }, (_, i) => i);
    for (let b = 0; b < countOf(input.shape, 0, rank - 2); b++) {
      forEachOnDiagonals(d, rows, columns, (row, column, compact) => {
        at[(b * rows + row) * columns + column] = total + b * size + compact;
      });
    }
    return [pickFrom([input, diagonal], at, input.shape)];
  };
}

/** Diag: a tensor of twice the rank with the input on its diagonal. */
function tensorDiag(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const count = elementCount(input.shape);
  check(input.shape.length >= 1, () => `Input must be at least rank 1, got ${input.shape.length}`);
  const shape = [...input.shape, ...input.shape];
  const at = new Float64Array(checkedCount(input.dtype, shape)).fill(count);
  for (let i = 0; i < count; i++) at[i * (count + 1)] = i;
  return [pickFrom([input, zeroTensor(input.dtype, [1])], at, shape)];
}

function tensorDiagPart(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const half = input.shape.length / 2;
  check(
    Number.isInteger(half),
    () => `The rank of the tensor should be even and positive, got shape ${printShape(input.shape)}`,
  );
  const shape = input.shape.slice(0, half);
  check(
    printShape(shape) === printShape(input.shape.slice(half)),
    () => `Invalid shape ${printShape(input.shape)}: dimensions do not match.`,
  );
  const count = elementCount(shape);
  return [
    takeRuns(
      input,
      Float64Array.from({ length: count }, (_, i) => i * (count + 1)),
      1,
      shape,
    ),
  ];
}

export const MATRIX_PART_KERNELS: Readonly<Record<string, Kernel>> = {
  MatrixBandPart: bandPart,
  BatchMatrixBandPart: bandPart,
  MatrixDiag: diag(true),
  BatchMatrixDiag: diag(true),
  MatrixDiagV2: diag(false),
  MatrixDiagV3: diag(false),
  MatrixDiagPart: diagPart(true),
  BatchMatrixDiagPart: diagPart(true),
  MatrixDiagPartV2: diagPart(false),
  MatrixDiagPartV3: diagPart(false),
  MatrixSetDiag: setDiag(true),
  BatchMatrixSetDiag: setDiag(true),
  MatrixSetDiagV2: setDiag(false),
  MatrixSetDiagV3: setDiag(false),
  Diag: tensorDiag,
  DiagPart: tensorDiagPart,
};
