/** Pooling by windows of random sizes (Graham, "Fractional max-pooling"). */
import type { HostResource } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, FINITE_MAX, numberArray, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { PhiloxStream } from "../random/philox.js";
import { blocksOf, reserve } from "../random/random.js";

/** Where windows begin along a dimension, and its end. */
type Starts = readonly number[];

/** Window sizes k and k + 1 in a random order. */
function shuffledSizes(op: OpCall, length: number, count: number): number[] {
  const [size, longer] = [Math.floor(length / count), length % count];
  const sizes = Array.from({ length: count }, (_, i) => size + (i < longer ? 1 : 0));
  new PhiloxStream(reserve(op, blocksOf(count))).shuffle(sizes);
  return sizes;
}

/** Window sizes by one random number: window i ends at ceil(alpha (i + u)). */
function pseudoRandomSizes(op: OpCall, length: number, count: number): number[] {
  const alpha = length / count;
  const size = Math.floor(alpha);
  // Bounds by which no window is shorter than k or longer than k + 1.
  const most = Math.min((size + 2) / alpha - 1, (length + 1 - size) / alpha - (count - 1));
  const u = new PhiloxStream(reserve(op, blocksOf(2))).double() * most;
  const ends = Array.from({ length: count + 1 }, (_, i) => Math.ceil(alpha * (i + u)));
  ends[0] = 1;
  ends[count] = length + 1;
  return Array.from({ length: count }, (_, i) => ends[i + 1]! - ends[i]!);
}

/** Windows of a node that draws them only once. */
class Regions implements HostResource {
  readonly kind = "pooling regions";
  readonly rows: Starts;
  readonly columns: Starts;

  constructor(rows: Starts, columns: Starts) {
    this.rows = rows;
    this.columns = columns;
  }
}

function regionsOf(op: OpCall, shape: readonly number[], pooled: readonly number[]): Regions {
  const key = `pooling regions of ${op.node.name}`;
  const isFixed = op.attrs.bool("deterministic");
  check(
    isFixed || (op.attrs.int("seed") === 0 && op.attrs.int("seed2") === 0),
    () => "Both seed and seed2 should be 0 if deterministic is false.",
  );
  const found = isFixed ? op.state.resources.get(key) : undefined;
  if (found instanceof Regions && found.rows.at(-1) === shape[1] && found.columns.at(-1) === shape[2]) return found;
  const sizesOf = op.attrs.bool("pseudo_random") ? pseudoRandomSizes : shuffledSizes;
  const starts = (axis: number): Starts => {
    const sums = [0];
    for (const size of sizesOf(op, shape[axis]!, pooled[axis]!)) sums.push(sums.at(-1)! + size);
    return sums;
  };
  const rows = starts(1);
  const made = new Regions(rows, starts(2));
  if (isFixed) op.state.resources.set(key, made);
  return made;
}

/** @param isMax  the largest element, not the mean */
const pool = (isMax: boolean): Kernel =>
  inTurns(function* (op: OpCall): Pieces<Tensor[]> {
    const input = op.tensor(0);
    const ratios = op.attrs.floats("pooling_ratio");
    check(ratios.length === 4, () => "pooling_ratio field must specify 4 dimensions");
    check(
      ratios.every((ratio) => ratio >= 1),
      () => `pooling_ratio cannot be smaller than 1, got: ${Math.min(...ratios)}`,
    );
    if (ratios[0] !== 1 || ratios[3] !== 1) {
      throw new ServingError(
        "UNIMPLEMENTED",
        `Fractional ${isMax ? "max" : "average"} pooling is not yet supported on the batch nor channel dimension.`,
      );
    }
    const { dtype, shape } = input;
    check(shape.length === 4, () => "tensor_in must be 4-dimensional");
    const pooled = shape.map((dim, axis) => Math.floor(dim / ratios[axis]!));
    for (const [axis, dim] of shape.entries()) {
      check(dim > 0, () => `Sizes of the input must be positive: ${printShape(shape)}`);
      check(dim >= ratios[axis]!, () => `Pooling ratio is higher than input dimension size for dimension ${axis}.`);
    }
    const { rows, columns } = regionsOf(op, shape, pooled);
    const numbers = exactNumbersOf(input, op.node.op);
    const out = numberArray(dtype, checkedCount(dtype, pooled));
    const [batch, height, width, depth] = shape as [number, number, number, number];
    const reach = op.attrs.bool("overlapping") ? 1 : 0;
    // What a window of NaN, or of what lies below it, leaves.
    const least = -FINITE_MAX[dtype === "float64" ? "float64" : "float32"];
    const isInteger = dtype === "int32" || dtype === "int64";
    let at = 0;
    for (let b = 0; b < batch; b++) {
      for (let r = 0; r < pooled[1]!; r++) {
        const bottom = Math.min(rows[r + 1]! + reach, height);
        for (let c = 0; c < pooled[2]!; c++) {
          const right = Math.min(columns[c + 1]! + reach, width);
          const count = (bottom - rows[r]!) * (right - columns[c]!);
          yield count * depth;
          for (let d = 0; d < depth; d++) {
            let [most, sum] = [least, 0];
            for (let y = rows[r]!; y < bottom; y++) {
              for (let x = columns[c]!; x < right; x++) {
                const value = numbers[((b * height + y) * width + x) * depth + d]!;
                if (value > most) most = value;
                sum += value;
              }
            }
            if (dtype === "int32") sum |= 0;
            out[at++] = isMax ? most : isInteger ? Math.trunc(sum / count) : sum / count;
          }
        }
      }
    }
    return [
      numbersTensor(dtype, pooled, out),
      tensor("int64", [rows.length], fromIntegers(rows)),
      tensor("int64", [columns.length], fromIntegers(columns)),
    ];
  });

export const FRACTIONAL_POOL_KERNELS: Readonly<Record<string, Kernel>> = {
  FractionalMaxPool: pool(true),
  FractionalAvgPool: pool(false),
};
