/** Operations on sets: rows of the last dim. */
import { countOf } from "./shapes.js";
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { takeRuns, appender, build } from "./elements.js";
import { check, printShape } from "./errors.js";
import { fromIntegers } from "./int64.js";
import type { Kernel, OpCall } from "./op-call.js";
import { compareBytes } from "./compare.js";
import { sameShape } from "./shapes.js";

/** Order of elements i and j of one tensor. */
function comparer(value: Tensor): (i: number, j: number) => number {
  const { data } = value;
  if (data instanceof StringColumn) return (i, j) => compareBytes(data, i, data, j);
  const list = data as unknown as ArrayLike<number | bigint>;
  return (i, j) => (list[i]! < list[j]! ? -1 : list[i]! > list[j]! ? 1 : 0);
}

function denseToDenseSetOperation(op: OpCall): Tensor[] {
  const [a, b] = [op.tensor(0), op.tensor(1)];
  const kind = op.attrs.text("set_operation").toLowerCase();
  check(["a-b", "b-a", "intersection", "union"].includes(kind), () => `Invalid set_operation ${kind}.`);
  const rank = a.shape.length;
  check(
    rank >= 2 && rank === b.shape.length,
    () => `Shapes ${printShape(a.shape)} and ${printShape(b.shape)} must have one rank of at least 2`,
  );
  const outer = a.shape.slice(0, -1);
  check(
    sameShape(outer, b.shape.slice(0, -1)),
    () => `Mismatched group shapes ${printShape(outer)} vs ${printShape(b.shape.slice(0, -1))}`,
  );
  const [n, m] = [a.shape[rank - 1]!, b.shape[rank - 1]!];
  const groups = countOf(outer, 0);
  // Both sets in one tensor, so that one comparer orders all.
  const joined = appender(a.dtype, groups * (n + m));
  joined.append(a.data, 0, groups * n);
  joined.append(b.data, 0, groups * m);
  const all = build(a.dtype, [groups * (n + m)], joined);
  const compare = comparer(all);
  const sorted = (start: number, count: number) => {
    const order = Array.from({ length: count }, (_, i) => start + i).sort(compare);
    return order.filter((at, i) => i === 0 || compare(order[i - 1]!, at) !== 0);
  };
  const picks: number[] = [];
  const indices: number[] = [];
  let widest = 0;
  for (let g = 0; g < groups; g++) {
    const merged = merge(kind, sorted(g * n, n), sorted(groups * n + g * m, m), compare);
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

export const SET_KERNELS: Readonly<Record<string, Kernel>> = { DenseToDenseSetOperation: denseToDenseSetOperation };
