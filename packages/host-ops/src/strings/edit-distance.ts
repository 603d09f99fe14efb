/** Levenshtein distance between the sequences of two sparse tensors. */
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { type Sparse, sparseAt } from "../sparse/sparse.js";

/** The largest product of two sequences' lengths: a table of that many steps is worked through per pair. */
const STEPS_MAX = 2 ** 28;

/** Runs of elements that share all indices but the last, as [group position, first, end). */
function sequences({ indices, shape, count }: Sparse, outer: readonly number[]): Map<number, [number, number]> {
  const rank = shape.length;
  const out = new Map<number, [number, number]>();
  for (let i = 0; i < count; i++) {
    let group = 0;
    for (let d = 0; d + 1 < rank; d++) {
      const id = indices[i * rank + d]!;
      check(id >= 0 && id < shape[d]!, () => `indices[${i}] is out of bounds: ${id} is not in [0, ${shape[d]})`);
      group = group * outer[d]! + id;
    }
    const found = out.get(group);
    if (found) found[1] = i + 1;
    else out.set(group, [i, i + 1]);
  }
  return out;
}

function equality(a: Tensor, b: Tensor): (i: number, j: number) => boolean {
  const [x, y] = [a.data, b.data];
  if (x instanceof StringColumn && y instanceof StringColumn) {
    return (i, j) => Buffer.compare(x.at(i), y.at(j)) === 0;
  }
  const [p, q] = [x as Int32Array, y as Int32Array];
  return (i, j) => p[i] === q[j];
}

function distance(
  [xStart, xEnd]: readonly [number, number],
  [yStart, yEnd]: readonly [number, number],
  equal: (i: number, j: number) => boolean,
): number {
  const n = yEnd - yStart;
  check(
    (xEnd - xStart) * n <= STEPS_MAX,
    () => `EditDistance of sequences of ${xEnd - xStart} and ${n} elements is too large`,
  );
  let row = Float64Array.from({ length: n + 1 }, (_, j) => j);
  for (let i = xStart; i < xEnd; i++) {
    const next = new Float64Array(n + 1);
    next[0] = i - xStart + 1;
    for (let j = 1; j <= n; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (equal(i, yStart + j - 1) ? 0 : 1));
    }
    row = next;
  }
  return row[n]!;
}

function editDistance(op: OpCall): Tensor[] {
  const [hypothesis, truth] = [sparseAt(op, 0, 1, 2), sparseAt(op, 3, 4, 5)];
  const rank = truth.shape.length;
  check(rank >= 2, () => `Input SparseTensors must have rank at least 2, but truth_shape rank is: ${rank}`);
  check(
    rank === hypothesis.shape.length,
    () => `Expected truth and hypothesis to have matching ranks, but they are ${rank} and ${hypothesis.shape.length}`,
  );
  const outer = truth.shape.slice(0, -1).map((dim, d) => Math.max(dim, hypothesis.shape[d]!));
  const count = checkedCount("float32", outer);
  check(count > 0, () => `Got output shape ${printShape(outer)} which has 0 elements`);
  const out = allocate("float32", count);
  const normalizes = op.attrs.bool("normalize");
  const equal = equality(truth.values, hypothesis.values);
  const truths = sequences(truth, outer);
  const hypotheses = sequences(hypothesis, outer);
  for (const [group, run] of truths) {
    const size = run[1] - run[0];
    const other = hypotheses.get(group);
    const steps = other ? distance(run, other, equal) : size;
    out[group] = normalizes ? steps / size : steps;
  }
  for (const [group, [start, end]] of hypotheses) {
    if (!truths.has(group)) out[group] = normalizes ? Number.POSITIVE_INFINITY : end - start;
  }
  return [tensor("float32", outer, out)];
}

export const EDIT_DISTANCE_KERNELS: Readonly<Record<string, Kernel>> = { EditDistance: editDistance };
