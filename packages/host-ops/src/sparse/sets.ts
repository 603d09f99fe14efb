/** Operations on sets: rows of the last dim. */
import { elementCount, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { takeRuns, appender, build } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { compareBytes } from "../math/compare.js";
import { sparseAt } from "./sparse.js";

/** Order of elements i and j of one tensor. */
function comparer(value: Tensor): (i: number, j: number) => number {
  const { data } = value;
  if (data instanceof StringColumn) return (i, j) => compareBytes(data, i, data, j);
  const list = data as unknown as ArrayLike<number | bigint>;
  return (i, j) => (list[i]! < list[j]! ? -1 : list[i]! > list[j]! ? 1 : 0);
}

/** Sets by the number of their group in row-major order: positions of their elements, before duplicates are dropped. */
interface Groups {
  readonly values: Tensor;
  /** Dims of the groups: all but the last. */
  readonly outer: readonly number[];
  positions(group: number): readonly number[];
}

function denseGroups(value: Tensor): Groups {
  const rank = value.shape.length;
  check(rank >= 2, () => `Shape ${printShape(value.shape)} has rank ${rank} < 2`);
  const size = value.shape[rank - 1]!;
  return {
    values: value,
    outer: value.shape.slice(0, -1),
    positions: (group) => Array.from({ length: size }, (_, i) => group * size + i),
  };
}

/** Groups of the sparse set that the inputs from `at` on hold. */
function sparseGroups(op: OpCall, at: number): Groups {
  const { indices, values, shape, count } = sparseAt(op, at, at + 1, at + 2);
  const rank = shape.length;
  check(rank >= 2, () => `Invalid rank ${rank}.`);
  const outer = shape.slice(0, -1);
  const members = new Map<number, number[]>();
  let previous = -1;
  for (let i = 0; i < count; i++) {
    let flat = 0;
    for (let d = 0; d < rank; d++) {
      const id = indices[i * rank + d]!;
      check(
        id >= 0 && id < shape[d]!,
        () => `indices[${i}] is out of bounds: index ${id} of dimension ${d} is not in [0, ${shape[d]})`,
      );
      flat = flat * shape[d]! + id;
    }
    if (op.attrs.bool("validate_indices")) {
      check(flat !== previous, () => `indices[${i}] is repeated`);
      check(
        flat > previous,
        () =>
          `indices[${i}] is out of order. Many sparse ops require sorted indices. Use \`tf.sparse.reorder\` to create a correctly ordered copy.`,
      );
    }
    previous = flat;
    const group = Math.floor(flat / shape[rank - 1]!);
    const list = members.get(group);
    if (list) list.push(i);
    else members.set(group, [i]);
  }
  return { values, outer, positions: (group) => members.get(group) ?? [] };
}

function setOperation(op: OpCall, a: Groups, b: Groups): Tensor[] {
  const kind = op.attrs.text("set_operation").toLowerCase();
  check(["a-b", "b-a", "intersection", "union"].includes(kind), () => `Invalid set_operation ${kind}.`);
  const { outer } = a;
  check(sameShape(outer, b.outer), () => `Mismatched group shapes ${printShape(outer)} vs ${printShape(b.outer)}`);
  const rank = outer.length + 1;
  const groups = checkedCount("int64", outer);
  // Both sets in one tensor, so that one comparer orders all.
  const [n, m] = [elementCount(a.values.shape), elementCount(b.values.shape)];
  const joined = appender(a.values.dtype, n + m);
  joined.append(a.values.data, 0, n);
  joined.append(b.values.data, 0, m);
  const all = build(a.values.dtype, [n + m], joined);
  const compare = comparer(all);
  const picks: number[] = [];
  const indices: number[] = [];
  let widest = 0;
  for (let g = 0; g < groups; g++) {
    const [x, y] = [a.positions(g), b.positions(g).map((i) => i + n)];
    const merged = merge(kind, distinct(x, compare), distinct(y, compare), compare);
    merged.forEach((at, i) => {
      picks.push(at);
      let rest = g;
      const prefix: number[] = [];
      for (let d = outer.length - 1; d >= 0; d--) {
        prefix.unshift(rest % outer[d]!);
        rest = Math.floor(rest / outer[d]!);
      }
      indices.push(...prefix, i);
    });
    widest = Math.max(widest, merged.length);
  }
  return [
    tensor("int64", [picks.length, rank], fromIntegers(indices)),
    takeRuns(all, picks, 1, [picks.length]),
    tensor("int64", [rank], fromIntegers([...outer, widest])),
  ];
}

/** The positions in order of their elements, without duplicates. */
function distinct(positions: readonly number[], compare: (i: number, j: number) => number): number[] {
  const order = positions.toSorted(compare);
  return order.filter((at, i) => i === 0 || compare(order[i - 1]!, at) !== 0);
}

function setSize(op: OpCall): Tensor[] {
  const sets = sparseGroups(op, 0);
  const compare = comparer(sets.values);
  const out = Int32Array.from(
    { length: checkedCount("int32", sets.outer) },
    (_, group) => distinct(sets.positions(group), compare).length,
  );
  return [tensor("int32", sets.outer, out)];
}

/** Merges two sorted sets. */
function merge(
  kind: string,
  x: readonly number[],
  y: readonly number[],
  compare: (i: number, j: number) => number,
): number[] {
  const out: number[] = [];
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    const order = i === x.length ? 1 : j === y.length ? -1 : compare(x[i]!, y[j]!);
    if (order < 0 && (kind === "a-b" || kind === "union")) out.push(x[i]!);
    if (order > 0 && (kind === "b-a" || kind === "union")) out.push(y[j]!);
    if (order === 0 && (kind === "intersection" || kind === "union")) out.push(x[i]!);
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  return out;
}

export const SET_KERNELS: Readonly<Record<string, Kernel>> = {
  DenseToDenseSetOperation: (op) => setOperation(op, denseGroups(op.tensor(0)), denseGroups(op.tensor(1))),
  DenseToSparseSetOperation: (op) => setOperation(op, denseGroups(op.tensor(0)), sparseGroups(op, 1)),
  SparseToSparseSetOperation: (op) => setOperation(op, sparseGroups(op, 0), sparseGroups(op, 3)),
  SetSize: setSize,
};
