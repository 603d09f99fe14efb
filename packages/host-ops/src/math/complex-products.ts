/** Products and contractions of complex numbers; those of real ones are the device's. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { broadcastTo, operand } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";

type Parts = Float32Array | Float64Array;

interface Layout {
  readonly rows: number;
  readonly columns: number;
  /** Steps from row to row and from column to column, in elements. */
  readonly rowStep: number;
  readonly columnStep: number;
  /** Sign of the imaginary part. */
  readonly sign: 1 | -1;
}

function layoutOf(shape: readonly number[], isTransposed: boolean, isAdjoint: boolean): Layout {
  const [rows, columns] = shape.slice(-2) as [number, number];
  if (!isTransposed && !isAdjoint) return { rows, columns, rowStep: columns, columnStep: 1, sign: 1 };
  return { rows: columns, columns: rows, rowStep: 1, columnStep: columns, sign: isAdjoint ? -1 : 1 };
}

/** The attributes of MatMul, or of BatchMatMul and its versions. */
function flag(op: OpCall, ...names: string[]): boolean {
  return names.some((name) => op.attrs.has(name) && op.attrs.bool(name));
}

function* matMul(op: OpCall): Pieces<Tensor[]> {
  const [a, b] = [op.tensor(0), op.tensor(1)];
  for (const { shape } of [a, b]) check(shape.length >= 2, () => `In[0] and In[1] ndims must be >= 2: ${shape.length}`);
  const left = layoutOf(a.shape, flag(op, "transpose_a"), flag(op, "adj_x"));
  const right = layoutOf(b.shape, flag(op, "transpose_b"), flag(op, "adj_y"));
  check(
    left.columns === right.rows,
    () => `Matrix size-incompatible: In[0]: ${printShape(a.shape)}, In[1]: ${printShape(b.shape)}`,
  );
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const shape = [...batch, left.rows, right.columns];
  const count = elementCount(batch);
  const out = allocate(a.dtype as "complex64", checkedCount(a.dtype, shape)) as Parts;
  const [x, y] = [a, b].map(({ dtype, data, shape: own }) =>
    broadcastTo(withData(dtype, own, data), [...batch, ...own.slice(-2)]),
  ) as [Tensor, Tensor];
  const [sizeX, sizeY, size] = [left.rows * left.columns, right.rows * right.columns, left.rows * right.columns];
  for (let k = 0; k < count; k++) {
    for (let i = 0; i < left.rows; i++) {
      yield 4 * left.columns * right.columns;
      for (let j = 0; j < right.columns; j++) {
        let [real, imaginary] = [0, 0];
        for (let t = 0; t < left.columns; t++) {
          const p = 2 * (k * sizeX + i * left.rowStep + t * left.columnStep);
          const q = 2 * (k * sizeY + t * right.rowStep + j * right.columnStep);
          const [c, d] = [(x.data as Parts)[p]!, left.sign * (x.data as Parts)[p + 1]!];
          const [e, f] = [(y.data as Parts)[q]!, right.sign * (y.data as Parts)[q + 1]!];
          real += c * e - d * f;
          imaginary += c * f + d * e;
        }
        const at = 2 * (k * size + i * right.columns + j);
        out[at] = real;
        out[at + 1] = imaginary;
      }
    }
  }
  return [withData(a.dtype, shape, out as never)];
}

/** Labels of an operand, one a dimension; those of an ellipsis are "0", "1", ..., aligned at the last one. */
function labelsOf(term: string, ellipsis: number, width: number): string[] {
  const [before, after] = term.split("...");
  if (after === undefined) return term.split("");
  const own = Array.from({ length: ellipsis }, (_, i) => String(width - ellipsis + i));
  return [...before!.split(""), ...own, ...after.split("")];
}

/** Sums over all labels that the result lacks, element by element. */
function* einsum(op: OpCall): Pieces<Tensor[]> {
  const [inputs, output] = op.attrs.text("equation").replaceAll(" ", "").split("->") as [string, string];
  const terms = inputs.split(",");
  const values = op.tensors();
  const ellipses = terms.map((term, i) => (term.includes("...") ? values[i]!.shape.length - (term.length - 3) : 0));
  const width = Math.max(...ellipses);
  const operands = terms.map((term, i) => labelsOf(term, ellipses[i]!, width));
  const result = labelsOf(output, width, width);
  const sizes = new Map<string, number>();
  for (const [i, labels] of operands.entries()) {
    const { shape } = values[i]!;
    check(
      labels.length === shape.length,
      () => `Expected input ${i} to have rank ${labels.length} but got: ${shape.length}`,
    );
    for (const [axis, label] of labels.entries()) {
      const [known, size] = [sizes.get(label) ?? 1, shape[axis]!];
      const isFree = Number.isNaN(Number(label));
      if (sizes.has(label) && known !== size && (isFree || (known !== 1 && size !== 1))) {
        throw invalid(
          `Expected dimension ${known} at axis ${axis} of the input shaped ${printShape(shape)} but got dimension ${size}`,
        );
      }
      sizes.set(label, sizes.has(label) && size === 1 ? known : size);
    }
  }
  const summed = [...sizes.keys()].filter((label) => !result.includes(label));
  const order = [...result, ...summed];
  const dims = order.map((label) => sizes.get(label)!);
  const steps = operands.map((labels, i) => stepsOf(labels, values[i]!.shape, order));
  const shape = dims.slice(0, result.length);
  const { dtype } = values[0]!;
  const out = allocate(dtype as "complex64", checkedCount(dtype, shape)) as Parts;
  const perOutput = elementCount(dims.slice(result.length));
  const index = dims.map(() => 0);
  const at = operands.map(() => 0);
  for (let o = 0; o < out.length; o += 2) {
    yield 4 * perOutput * operands.length;
    let [real, imaginary] = [0, 0];
    for (let s = 0; s < perOutput; s++) {
      let [p, q] = [1, 0];
      for (let i = 0; i < operands.length; i++) {
        const data = values[i]!.data as Parts;
        const [c, d] = [data[2 * at[i]!]!, data[2 * at[i]! + 1]!];
        [p, q] = [p * c - q * d, p * d + q * c];
      }
      real += p;
      imaginary += q;
      advance(index, dims, at, steps);
    }
    out[o] = real;
    out[o + 1] = imaginary;
  }
  return [withData(dtype, shape, out as never)];
}

/** How far an operand moves by one step of each label of `order`; a label that stands twice moves along the diagonal. */
function stepsOf(labels: readonly string[], shape: readonly number[], order: readonly string[]): number[] {
  const steps = order.map(() => 0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1) steps[order.indexOf(labels[axis]!)]! += stride;
    stride *= shape[axis]!;
  }
  return steps;
}

/** The next index in row-major order, and where it is in each operand. */
function advance(index: number[], dims: readonly number[], at: number[], steps: readonly (readonly number[])[]): void {
  for (let d = dims.length - 1; d >= 0; d--) {
    const isLast = ++index[d]! === dims[d];
    for (let i = 0; i < at.length; i++) at[i]! += steps[i]![d]! * (isLast ? 1 - dims[d]! : 1);
    if (!isLast) return;
    index[d] = 0;
  }
}

/** The host has no BiasAdd of real numbers either. */
function biasAdd(op: OpCall): Tensor[] {
  const [value, bias] = [op.tensor(0), op.tensor(1)];
  const isFirst = op.attrs.has("data_format") && op.attrs.text("data_format").startsWith("NC");
  const { shape } = value;
  const channels = isFirst ? shape[1] : shape.at(-1);
  check(shape.length >= 2, () => `Input tensor must be at least 2D: [${shape.join(",")}]`);
  check(
    bias.shape.length === 1 && bias.shape[0] === channels,
    () => `Must provide as many biases as the last dimension`,
  );
  const biasShape = isFirst ? [channels!, ...shape.slice(2).map(() => 1)] : bias.shape;
  const { value: wide } = operand(withData(bias.dtype, biasShape, bias.data), shape);
  const [a, b] = [value.data as Parts, wide.data as Parts];
  const out = allocate(value.dtype as "complex64", elementCount(shape)) as Parts;
  for (let i = 0; i < out.length; i++) out[i] = a[i]! + b[b.length === 2 ? i % 2 : i]!;
  return [withData(value.dtype, shape, out as never)];
}

/** Ops that the host has for complex numbers alone. */
export const COMPLEX_ONLY_KERNELS: Readonly<Record<string, Kernel>> = {
  MatMul: inTurns(matMul),
  BatchMatMul: inTurns(matMul),
  BatchMatMulV2: inTurns(matMul),
  Einsum: inTurns(einsum),
  BiasAdd: biasAdd,
  BiasAddV1: biasAdd,
};
