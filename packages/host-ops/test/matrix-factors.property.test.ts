import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs, type AttrValue } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

/** Singular vectors and eigenvectors are told up to their sign, so their values are no golden's; what they mean is held here. */

function run(op: string, input: Tensor, attrs: Record<string, AttrValue>): Tensor[] {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, { T: input.dtype, ...attrs }) };
  return hostKernels.get(op)!({ node, inputs: [input], state: newState() }) as Tensor[];
}

type Rows = number[][];

function rowsOf({ shape, data }: Tensor): Rows {
  const [rows, columns] = shape as [number, number];
  return Array.from({ length: rows }, (_, i) =>
    Array.from((data as Float64Array).subarray(i * columns, (i + 1) * columns)),
  );
}

const transposed = (a: Rows, columns: number): Rows =>
  Array.from({ length: columns }, (_, j) => a.map((row) => row[j]!));

function times(a: Rows, b: Rows): Rows {
  return a.map((row) => (b[0] ?? []).map((_, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)));
}

function assertClose(actual: Rows, expected: Rows, scale: number): void {
  for (const [i, row] of expected.entries()) {
    for (const [j, x] of row.entries()) {
      assert(Math.abs(actual[i]![j]! - x) <= 1e-10 * Math.max(1, scale), `[${i}, ${j}] is ${actual[i]![j]}, not ${x}`);
    }
  }
}

const identity = (n: number): Rows =>
  Array.from({ length: n }, (_, i) => Array.from({ length: n }, (__, j) => +(i === j)));

const anyMatrix = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })).chain(([rows, columns]) =>
  fc
    .array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.double({ min: -1e3, max: 1e3, noNaN: true })), {
      minLength: rows * columns,
      maxLength: rows * columns,
    })
    .map((values) => tensor("float64", [rows, columns], Float64Array.from(values))),
);

const sizeOf = ({ data }: Tensor): number => Math.hypot(...(data as Float64Array));

describe("factors of matrices", () => {
  it("singular vectors are orthonormal and make the matrix", () => {
    fc.assert(
      fc.property(anyMatrix, fc.boolean(), (a, full) => {
        const [s, u, v] = run("Svd", a, { compute_uv: true, full_matrices: full }) as [Tensor, Tensor, Tensor];
        const [left, right] = [rowsOf(u), rowsOf(v)];
        assertClose(times(transposed(left, u.shape[1]!), left), identity(u.shape[1]!), 1);
        assertClose(times(transposed(right, v.shape[1]!), right), identity(v.shape[1]!), 1);
        const values = s.data as Float64Array;
        const scaled = left.map((row) => Array.from(values, (value, k) => row[k]! * value));
        const kept = transposed(right, v.shape[1]!).slice(0, values.length);
        assertClose(times(scaled, kept), rowsOf(a), sizeOf(a));
        for (let k = 1; k < values.length; k++) assert(values[k]! <= values[k - 1]! && values[k]! >= 0);
      }),
      { numRuns: 200 },
    );
  });

  it("eigenvectors are orthonormal and make the matrix", () => {
    fc.assert(
      fc.property(anyMatrix, (given) => {
        const n = Math.min(...given.shape);
        const rows = rowsOf(given).slice(0, n);
        const symmetric = rows.map((row, i) => row.slice(0, n).map((x, j) => (i >= j ? x : rows[j]![i]!)));
        const a = tensor("float64", [n, n], Float64Array.from(symmetric.flat()));
        const [e, v] = run("SelfAdjointEigV2", a, { compute_v: true }) as [Tensor, Tensor];
        const vectors = rowsOf(v);
        assertClose(times(transposed(vectors, n), vectors), identity(n), 1);
        const values = e.data as Float64Array;
        const scaled = vectors.map((row) => row.map((x, k) => x * values[k]!));
        assertClose(times(scaled, transposed(vectors, n)), symmetric, sizeOf(a));
      }),
      { numRuns: 200 },
    );
  });
});
