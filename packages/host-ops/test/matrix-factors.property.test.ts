import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs, type AttrValue } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

/** Singular vectors and eigenvectors are told up to their sign, so their values are no golden's; what they mean is held here. */

const NO_REGULARISER = tensor("float64", [], Float64Array.of(0));

/** What solves takes the matrix for its right-hand sides as well. */
async function run(
  op: string,
  input: Tensor,
  attrs: Record<string, AttrValue>,
  signal?: AbortSignal,
): Promise<Tensor[]> {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, { T: input.dtype, ...attrs }) };
  const sides = [/Solve/, /SolveLs/].filter((kind) => kind.test(op)).map((_, i) => (i === 0 ? input : NO_REGULARISER));
  const call = { node, inputs: [input, ...sides], state: newState(), ...(signal && { signal }) };
  return (await hostKernels.get(op)!(call)) as Tensor[];
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

const anyComplexMatrix = anyMatrix.map(({ shape, data }) => {
  const reals = data as Float64Array;
  const pairs = Float64Array.from({ length: 2 * reals.length }, (_, i) =>
    i % 2 === 0 ? reals[i >> 1]! : reals[((i >> 1) * 5 + 1) % reals.length]!,
  );
  return tensor("complex128", shape, pairs);
});

/** A complex matrix as one of real numbers: [[a, -b], [b, a]] for a + bi, so that products, transposes and 1 are what they were. */
function realOf({ shape, data }: Tensor): Rows {
  const [rows, columns] = shape as [number, number];
  const at = data as Float64Array;
  return Array.from({ length: 2 * rows }, (_, i) =>
    Array.from({ length: 2 * columns }, (__, j) => {
      const k = 2 * ((i >> 1) * columns + (j >> 1));
      if (i % 2 === j % 2) return at[k]!;
      return i % 2 === 1 ? at[k + 1]! : -at[k + 1]!;
    }),
  );
}

const sizeOf = ({ data }: Tensor): number => Math.hypot(...(data as Float64Array));

describe("factors of matrices", () => {
  it("singular vectors are orthonormal and make the matrix", async () => {
    await fc.assert(
      fc.asyncProperty(anyMatrix, fc.boolean(), async (a, full) => {
        const [s, u, v] = (await run("Svd", a, { compute_uv: true, full_matrices: full })) as [Tensor, Tensor, Tensor];
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

  it("eigenvectors are orthonormal and make the matrix", async () => {
    await fc.assert(
      fc.asyncProperty(anyMatrix, async (given) => {
        const n = Math.min(...given.shape);
        const rows = rowsOf(given).slice(0, n);
        const symmetric = rows.map((row, i) => row.slice(0, n).map((x, j) => (i >= j ? x : rows[j]![i]!)));
        const a = tensor("float64", [n, n], Float64Array.from(symmetric.flat()));
        const [e, v] = (await run("SelfAdjointEigV2", a, { compute_v: true })) as [Tensor, Tensor];
        const vectors = rowsOf(v);
        assertClose(times(transposed(vectors, n), vectors), identity(n), 1);
        const values = e.data as Float64Array;
        const scaled = vectors.map((row) => row.map((x, k) => x * values[k]!));
        assertClose(times(scaled, transposed(vectors, n)), symmetric, sizeOf(a));
      }),
      { numRuns: 200 },
    );
  });

  it("singular vectors of complex matrices are orthonormal and make the matrix", async () => {
    await fc.assert(
      fc.asyncProperty(anyComplexMatrix, fc.boolean(), async (a, full) => {
        const [s, u, v] = (await run("Svd", a, { compute_uv: true, full_matrices: full })) as [Tensor, Tensor, Tensor];
        const [left, right] = [realOf(u), realOf(v)];
        assertClose(times(transposed(left, 2 * u.shape[1]!), left), identity(2 * u.shape[1]!), 1);
        assertClose(times(transposed(right, 2 * v.shape[1]!), right), identity(2 * v.shape[1]!), 1);
        const values = s.data as Float64Array;
        const doubled = Array.from(values, (_, i) => values[i - (i % 2)]!);
        const scaled = left.map((row) => doubled.map((value, k) => row[k]! * value));
        assertClose(times(scaled, transposed(right, 2 * v.shape[1]!).slice(0, doubled.length)), realOf(a), sizeOf(a));
      }),
      { numRuns: 100 },
    );
  });

  it("eigenvectors of complex matrices are orthonormal and make the matrix", async () => {
    await fc.assert(
      fc.asyncProperty(anyComplexMatrix, async (given) => {
        const n = Math.min(...given.shape);
        const [rows, columns] = given.shape as [number, number];
        const at = given.data as Float64Array;
        const own = new Float64Array(2 * n * n);
        for (let i = 0; i < n; i++) {
          for (let j = 0; j <= i; j++) {
            const from = 2 * (Math.min(i, rows - 1) * columns + j);
            const im = i === j ? 0 : at[from + 1]!;
            own.set([at[from]!, im], 2 * (i * n + j));
            own.set([at[from]!, -im], 2 * (j * n + i));
          }
        }
        const a = tensor("complex128", [n, n], own);
        const [e, v] = (await run("SelfAdjointEigV2", a, { compute_v: true })) as [Tensor, Tensor];
        const vectors = realOf(v);
        assertClose(times(transposed(vectors, 2 * n), vectors), identity(2 * n), 1);
        const values = e.data as Float64Array;
        const scaled = vectors.map((row) => row.map((x, k) => x * values[2 * (k >> 1)]!));
        assertClose(times(scaled, transposed(vectors, 2 * n)), realOf(a), sizeOf(a));
      }),
      { numRuns: 100 },
    );
  });

  // By squares of a few bits no rotation turns: eigenvalues were 1e-3 off. Differences of eigenvalues whose squares are 0 divide nothing.
  const vanishing = [
    tensor("float64", [3, 3], Float64Array.of(0, -4.7e-162, 0, 0, 0, -1, -1, 0, 0)),
    tensor("float64", [2, 2], Float64Array.of(0, 5e-324, -1.8e-166, 0)),
  ];

  it("eigenvectors of any square matrix have length 1 and are multiplied by their values", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyMatrix, anyComplexMatrix), async (given) => {
        const n = Math.min(...given.shape);
        const width = given.data.length / given.shape[0]!;
        const lanes = given.dtype === "complex128" ? 2 : 1;
        const own = Float64Array.from({ length: lanes * n * n }, (_, i) => {
          const [row, column] = [Math.floor(i / (lanes * n)), i % (lanes * n)];
          return (given.data as Float64Array)[row * width + column]!;
        });
        const a = tensor(given.dtype as "float64", [n, n], own);
        const [e, v] = (await run("Eig", a, { compute_v: true, Tout: "complex128" })) as [Tensor, Tensor];
        const vectors = realOf(v);
        const complex =
          lanes === 2 ? own : Float64Array.from({ length: 2 * n * n }, (_, i) => (i % 2 === 0 ? own[i >> 1]! : 0));
        const diagonal = new Float64Array(2 * n * n);
        for (let i = 0; i < 2 * n; i++) diagonal[2 * (i >> 1) * (n + 1) + (i % 2)] = (e.data as Float64Array)[i]!;
        const left = times(realOf(tensor("complex128", [n, n], complex)), vectors);
        assertClose(left, times(vectors, realOf(tensor("complex128", [n, n], diagonal))), sizeOf(a));
        for (let j = 0; j < 2 * n; j++) {
          assert(Math.abs(vectors.reduce((sum, row) => sum + row[j]! ** 2, 0) - 1) < 1e-10);
        }
      }),
      { numRuns: 200, examples: vanishing.map((a): [Tensor] => [a]) },
    );
  });

  it("little work is done at once, so that constants fold", () => {
    for (const op of ["Svd", "SelfAdjointEigV2", "Cholesky"]) {
      const attrs = new Attrs(op, { T: "float64", compute_uv: true, compute_v: true, full_matrices: false });
      const input = tensor("float64", [2, 2], Float64Array.of(2, 1, 1, 3));
      const node = { name: "node", op, inputs: [], controls: [], attrs };
      assert(Array.isArray(hostKernels.get(op)!({ node, inputs: [input], state: newState() })), op);
    }
  });

  it("a matrix has more elements than a call may have arguments", async () => {
    const n = 500;
    const diagonal = tensor(
      "float64",
      [n, n],
      Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 2 : 0)),
    );
    const [values] = await run("Svd", diagonal, { compute_uv: false, full_matrices: false });
    assert((values!.data as Float64Array).every((value) => Math.abs(value - 2) < 1e-12));
    const [eigenvalues] = await run("SelfAdjointEigV2", diagonal, { compute_v: false });
    assert((eigenvalues!.data as Float64Array).every((value) => value === 2));
  });

  // Each case is more work than one turn of the event loop may take.
  for (const [op, shape, attrs] of [
    ["Svd", [100, 100], { compute_uv: true, full_matrices: false }],
    ["SelfAdjointEigV2", [100, 100], { compute_v: true }],
    ["Qr", [8, 60, 60], { full_matrices: true }],
    ["Cholesky", [8, 100, 100], {}],
    ["MatrixInverse", [8, 100, 100], { adjoint: false }],
    // One matrix: the work inside it is in pieces too.
    ["Svd", [150, 4], { compute_uv: true, full_matrices: true }],
    ["Qr", [150, 150], { full_matrices: true }],
    ["Cholesky", [200, 200], {}],
    ["Lu", [200, 200], { output_idx_type: "int32" }],
    ["MatrixInverse", [150, 150], { adjoint: false }],
    ["MatrixDeterminant", [200, 200], {}],
    ["LogMatrixDeterminant", [200, 200], {}],
    ["MatrixSolve", [150, 150], { adjoint: false }],
    ["MatrixTriangularSolve", [200, 200], { adjoint: false, lower: true }],
    ["MatrixSolveLs", [150, 150], {}],
    ["Eig", [100, 100], { compute_v: true, Tout: "complex128" }],
    ["MatrixExponential", [100, 100], {}],
    ["MatrixSquareRoot", [100, 100], {}],
  ] as [string, number[], Record<string, AttrValue>][]) {
    it(`${op} of [${shape.join()}] lets others run in the middle of much work, and ends there once nobody waits`, async () => {
      const gone = new Error("gone");
      const count = shape.reduce((product, dim) => product * dim, 1);
      const n = shape.at(-1)!;
      // Larger on the diagonal: every op has an answer.
      const values = Float64Array.from({ length: count }, (_, i) =>
        Math.floor(i / n) % n === i % n ? 2 * n : ((i * 7) % 5) / 5,
      );
      await assert.rejects(async () => run(op, tensor("float64", shape, values), attrs, AbortSignal.abort(gone)), gone);
    });
  }
});
