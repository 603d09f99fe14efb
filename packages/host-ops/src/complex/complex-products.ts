/** Products of complex matrices; those of real ones are the device's. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
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

/** Ops that the host has for complex numbers alone. */
export const COMPLEX_ONLY_KERNELS: Readonly<Record<string, Kernel>> = {
  MatMul: inTurns(matMul),
  BatchMatMul: inTurns(matMul),
  BatchMatMulV2: inTurns(matMul),
};
