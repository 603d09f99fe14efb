/** Nearest centres of points: what k-means estimators serve. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";

/** The k nearest centres of each point, nearest first, and the squared distances to them. */
function* nearestNeighbors(op: OpCall): Pieces<Tensor[]> {
  const [points, centers] = [op.tensor(0), op.tensor(1)];
  check(points.shape.length === 2, () => `Input points should be a matrix, got shape ${printShape(points.shape)}`);
  check(centers.shape.length === 2, () => `Input centers should be a matrix, got shape ${printShape(centers.shape)}`);
  check(
    op.tensor(2).shape.length === 0,
    () => `Input k should be a scalar, got shape ${printShape(op.tensor(2).shape)}`,
  );
  const [rows, dims] = points.shape as [number, number];
  const count = centers.shape[0]!;
  check(centers.shape[1] === dims, () => `Dimension mismatch: ${dims} != ${centers.shape[1]}`);
  const wanted = integerOf(op.tensor(2));
  check(wanted >= 0, () => `k must be nonnegative, got ${wanted}`);
  check(rows > 0, () => "There must be at least one point");
  const k = Math.min(wanted, count);
  const size = checkedCount("int64", [rows, k]);
  const [x, c] = [points.data as Float32Array, centers.data as Float32Array];
  const nearest = new Float64Array(size);
  const distances = new Float32Array(size);
  const squares = new Float64Array(count);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (let d = 0; d < dims; d++) sum += (x[row * dims + d]! - c[i * dims + d]!) ** 2;
      squares[i] = sum;
    }
    const start = row * k;
    // Kept in order by insertion: k is small.
    for (let i = 0, filled = 0; i < count; i++) {
      let at = filled;
      while (at > 0 && squares[nearest[start + at - 1]!]! > squares[i]!) at--;
      if (at >= k) continue;
      nearest.copyWithin(start + at + 1, start + at, start + Math.min(filled, k - 1));
      nearest[start + at] = i;
      filled = Math.min(filled + 1, k);
    }
    for (let i = 0; i < k; i++) distances[start + i] = squares[nearest[start + i]!]!;
    yield count * (dims + k);
  }
  return [tensor("int64", [rows, k], fromIntegers(nearest)), tensor("float32", [rows, k], distances)];
}

export const NEAREST_KERNELS: Readonly<Record<string, Kernel>> = { NearestNeighbors: inTurns(nearestNeighbors) };
