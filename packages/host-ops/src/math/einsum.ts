/** Einsum: sums over all labels that the result lacks, element by element. The device has it where it is a product of matrices. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import { is64Bit, isComplex, isFloating, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { inTurns, type Pieces } from "../call/turns.js";

/** Where each product of an equation finds its factors. */
interface Walk {
  readonly shape: readonly number[];
  /** Products that are added up to one element of the result. */
  readonly perOutput: number;
  /** Position of the next factor in each operand; {@link step} moves on to the next product. */
  readonly at: readonly number[];
  readonly step: () => void;
}

/** Labels of an operand, one a dimension; those of an ellipsis are "0", "1", ..., aligned at the last one. */
function labelsOf(term: string, ellipsis: number, width: number): string[] {
  const [before, after] = term.split("...");
  if (after === undefined) return term.split("");
  const own = Array.from({ length: ellipsis }, (_, i) => String(width - ellipsis + i));
  return [...before!.split(""), ...own, ...after.split("")];
}

function walkOf(equation: string, values: readonly Tensor[]): Walk {
  const [inputs, output] = equation.replaceAll(" ", "").split("->") as [string, string];
  const terms = inputs.split(",");
  check(
    terms.length === values.length && terms.length <= 2,
    () => `Expecting 1 or 2 input subscripts in equation '${equation}' but got: ${terms.length}`,
  );
  const ellipses = terms.map((term, i) => (term.includes("...") ? values[i]!.shape.length - (term.length - 3) : 0));
  const width = Math.max(...ellipses);
  check(width === 0 || output.includes("..."), () => `an ellipsis of '${equation}' that the output lacks`);
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
  const order = [...result, ...[...sizes.keys()].filter((label) => !result.includes(label))];
  const dims = order.map((label) => sizes.get(label)!);
  const steps = operands.map((labels, i) => stepsOf(labels, values[i]!.shape, order));
  const index = dims.map(() => 0);
  const at = operands.map(() => 0);
  return {
    shape: dims.slice(0, result.length),
    perOutput: elementCount(dims.slice(result.length)),
    at,
    step: () => advance(index, dims, at, steps),
  };
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

/** A sum may be of all elements: others run between so many products of it. */
const PRODUCTS_PER_PIECE = 2 ** 16;

function* complex(values: readonly Tensor[], { shape, perOutput, at, step }: Walk): Pieces<Tensor[]> {
  const { dtype } = values[0]!;
  const operands = values.map(({ data }) => data as Float32Array);
  const out = allocate(dtype as "complex64", checkedCount(dtype, shape));
  for (let o = 0; o < out.length; o += 2) {
    let [real, imaginary] = [0, 0];
    for (let s = 0, end = 0; s < perOutput; s++) {
      if (s === end) {
        end = Math.min(perOutput, s + PRODUCTS_PER_PIECE);
        yield 4 * (end - s) * operands.length;
      }
      let [p, q] = [1, 0];
      for (let i = 0; i < operands.length; i++) {
        const [c, d] = [operands[i]![2 * at[i]!]!, operands[i]![2 * at[i]! + 1]!];
        [p, q] = [p * c - q * d, p * d + q * c];
      }
      real += p;
      imaginary += q;
      step();
    }
    out[o] = real;
    out[o + 1] = imaginary;
  }
  return [withData(dtype, shape, out as never)];
}

function* real(values: readonly Tensor[], { shape, perOutput, at, step }: Walk): Pieces<Tensor[]> {
  const { dtype } = values[0]!;
  const operands = values.map(numbersOf);
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const isExact = !isFloating(dtype);
  for (let o = 0; o < out.length; o++) {
    let sum = 0;
    for (let s = 0, end = 0; s < perOutput; s++) {
      if (s === end) {
        end = Math.min(perOutput, s + PRODUCTS_PER_PIECE);
        yield (end - s) * operands.length;
      }
      const [a, c] = [operands[0]![at[0]!]!, operands.length > 1 ? operands[1]![at[1]!]! : 1];
      // Integers wrap around, as TensorFlow's do.
      sum = isExact ? (sum + Math.imul(a, c)) | 0 : sum + a * c;
      step();
    }
    out[o] = sum;
  }
  return [numbersTensor(dtype, shape, out)];
}

function* wide(values: readonly Tensor[], { shape, perOutput, at, step }: Walk): Pieces<Tensor[]> {
  const operands = values.map(({ data }) => data as BigInt64Array);
  const out = allocate("int64", checkedCount("int64", shape));
  for (let o = 0; o < out.length; o++) {
    let sum = 0n;
    for (let s = 0, end = 0; s < perOutput; s++) {
      if (s === end) {
        end = Math.min(perOutput, s + PRODUCTS_PER_PIECE);
        yield 8 * (end - s) * operands.length;
      }
      sum += operands[0]![at[0]!]! * (operands.length > 1 ? operands[1]![at[1]!]! : 1n);
      step();
    }
    out[o] = BigInt.asIntN(64, sum);
  }
  return [withData("int64", shape, out)];
}

function einsum(op: OpCall): Pieces<Tensor[]> {
  const values = op.tensors();
  const walk = walkOf(op.attrs.text("equation"), values);
  const { dtype } = values[0]!;
  return (isComplex(dtype) ? complex : is64Bit(dtype) ? wide : real)(values, walk);
}

export const EINSUM_KERNELS: Readonly<Record<string, Kernel>> = { Einsum: inTurns(einsum) };
