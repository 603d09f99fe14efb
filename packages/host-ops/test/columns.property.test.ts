import assert from "node:assert/strict";
import fc from "fast-check";
import { ServingError } from "@shardserve/core";
import { Attrs, type AttrValue } from "@shardserve/graph";
import { StringColumn, strings, type Tensor, tensor, zeros } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

function run(op: string, inputs: readonly Tensor[], attrs: Record<string, AttrValue> = {}): Tensor[] {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return hostKernels.get(op)!({ node, inputs, state: newState() }) as Tensor[];
}

/** Tensors as they can be compared, or the error's text. */
function outcome(make: () => readonly Tensor[]): unknown {
  try {
    return make().map(({ dtype, shape, data }) => ({
      dtype,
      shape,
      data: data instanceof StringColumn ? data.toTexts() : [...(data as Float32Array)],
    }));
  } catch (error) {
    assert.ok(error instanceof ServingError, String(error));
    return `${error.code}: ${error.message}`;
  }
}

const int64s = (values: readonly number[], shape = [values.length]) =>
  tensor("int64", shape, BigInt64Array.from(values, BigInt));
const int32s = (values: readonly number[], shape = [values.length]) => tensor("int32", shape, Int32Array.from(values));
const int64 = (value: number) => int64s([value], []);

interface Entries {
  readonly rows: number;
  readonly entries: readonly (readonly [row: number, id: number])[];
  readonly isSorted: boolean;
  readonly dropsNegative: boolean;
  readonly filler: number;
  readonly dtype: "int32" | "int64";
}

/** Mostly in order and within bounds, as parsers make them; sometimes not. */
const sparseIds: fc.Arbitrary<Entries> = fc.record({
  rows: fc.integer({ min: 0, max: 6 }),
  entries: fc.array(
    fc.tuple(
      fc.oneof({ weight: 30, arbitrary: fc.nat(5) }, { weight: 1, arbitrary: fc.constantFrom(-1, 6, 2 ** 40) }),
      fc.oneof({ weight: 20, arbitrary: fc.integer({ min: -2, max: 9 }) }, fc.constantFrom(10, -(2 ** 40), 2 ** 40)),
    ),
    { maxLength: 12 },
  ),
  isSorted: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.constant(false)),
  dropsNegative: fc.boolean(),
  filler: fc.integer({ min: -1, max: 10 }),
  dtype: fc.constantFrom("int32", "int64"),
});

function tensorsOf({ rows, entries, isSorted, filler, dtype }: Entries): [Tensor, Tensor, Tensor, Tensor] {
  const clipped = entries.map(([row, id]) => [row < 6 && row >= rows ? Math.max(rows - 1, 0) : row, id] as const);
  const list = isSorted ? clipped.toSorted(([a], [b]) => a - b) : clipped;
  const indices = int64s(
    list.flatMap(([row], i) => [row, i]),
    [list.length, 2],
  );
  const ids = list.map(([, id]) => (dtype === "int32" ? Math.sign(id) * Math.min(Math.abs(id), 99) : id));
  const of = dtype === "int32" ? int32s : int64s;
  return [indices, of(ids), int64s([rows, 20]), of([filler], [])];
}

/** The ops that `FilledIds` stands for. */
function filledByOps({ dropsNegative, ...given }: Entries): Tensor[] {
  let [indices, ids, shape, filler] = tensorsOf({ dropsNegative, ...given });
  if (dropsNegative) {
    const [isId] = run("GreaterEqual", [ids, (given.dtype === "int32" ? int32s : int64s)([0], [])]);
    const [where] = run("Where", [isId!]);
    const [kept] = run("Reshape", [where!, int32s([-1])]);
    const gather = (params: Tensor) => run("GatherV2", [params, kept!, int32s([0], [])], { batch_dims: 0 })[0]!;
    [indices, ids] = [gather(indices), gather(ids)];
  }
  const [filled, values, isEmpty] = run("SparseFillEmptyRows", [indices, ids, shape, filler]);
  const column = Array.from({ length: filled!.shape[0]! }, (_, i) => Number((filled!.data as BigInt64Array)[2 * i]));
  return [int64s(column), values!, isEmpty!];
}

function filled(given: Entries): Tensor[] {
  return run("FilledIds", tensorsOf(given), { dropsNegative: given.dropsNegative });
}

describe("what the compiler makes of the ops of feature columns", () => {
  it("FilledIds is what the ops are, errors included", () => {
    fc.assert(
      fc.property(sparseIds, (given) => {
        assert.deepEqual(
          outcome(() => filled(given)),
          outcome(() => filledByOps(given)),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("FilledIds refuses parts that do not fit each other", () => {
    const [indices, ids, shape, filler] = [int64s([0, 0], [1, 2]), int64s([1, 2]), int64s([3, 2]), int64(0)];
    const attrs = { dropsNegative: true };
    assert.throws(() => run("FilledIds", [indices, ids, shape, filler], attrs), /indices\[1\] = 1 is not in \[0, 1\)/);
    assert.throws(() => run("FilledIds", [indices, int64s([1]), int64s([3]), filler], attrs), /does not fit/);
  });

  it("BoundedIds is what JAX's ops are", () => {
    const id = fc.oneof(fc.integer({ min: -12, max: 12 }), fc.constantFrom(-(2 ** 31), 2 ** 31 - 1));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 9 }), fc.nat(9), fc.constantFrom(0, 10), (values, most, added) => {
        const [ids, zero, high] = [int32s(values), int32s([0], []), int32s([most], [])];
        const [isLow] = run("Less", [ids, zero]);
        const [moved] = run("AddV2", [ids, int32s([added], [])]);
        const [start] = run("SelectV2", [isLow!, moved!, ids]);
        const [isHigh] = run("GreaterEqual", [start!, zero]);
        const [isBelow] = run("LessEqual", [start!, high]);
        const [low] = run("Minimum", [start!, high]);
        const want = [...run("Maximum", [low!, zero]), ...run("LogicalAnd", [isHigh!, isBelow!])];
        const got = run("BoundedIds", [ids], { most, added });
        assert.deepEqual(
          outcome(() => got),
          outcome(() => want),
        );
      }),
    );
  });

  it("PooledLookup is what the ops are, errors and bits included", () => {
    const value = fc.oneof(fc.float({ noDefaultInfinity: true, noNaN: true }), fc.constantFrom(-0, Number.NaN, 1e38));
    const tables = fc.record({
      dim: fc.integer({ min: 1, max: 9 }),
      values: fc.array(value, { minLength: 90, maxLength: 90 }),
      dtype: fc.constantFrom("float32" as const, "float64" as const),
      combiner: fc.constantFrom("sum", "mean", "sqrtn"),
      isZeroed: fc.boolean(),
    });
    const ops: Record<string, string> = {
      sum: "SparseSegmentSum",
      mean: "SparseSegmentMean",
      sqrtn: "SparseSegmentSqrtN",
    };
    fc.assert(
      fc.property(sparseIds, tables, (entries, { dim, values, dtype, combiner, isZeroed }) => {
        const inOrder = { ...entries, isSorted: true, entries: entries.entries.filter(([row]) => row >= 0 && row < 6) };
        fc.pre(inOrder.rows > 0 || inOrder.entries.length === 0);
        const [segments, ids, isEmpty] = filled(inOrder) as [Tensor, Tensor, Tensor];
        const table = zeros(dtype, [10, dim]);
        for (let i = 0; i < 10 * dim; i++) table.data[i] = values[i]!;
        const inputs = [table, ids, segments, ...(isZeroed ? [isEmpty] : [])];
        assert.deepEqual(
          outcome(() => run("PooledLookup", inputs, { combiner })),
          outcome(() => {
            const [unique, positions] = run("Unique", [ids], { out_idx: "int32" });
            const [rows] = run("Gather", [table, unique!]);
            const [sum] = run(ops[combiner]!, [rows!, positions!, segments]);
            if (!isZeroed) return [sum!];
            const [column] = run("Reshape", [isEmpty, int32s([-1, 1])]);
            const [tiled] = run("Tile", [column!, int32s([1, dim])]);
            return run("Select", [tiled!, zeros(dtype, sum!.shape), sum!]);
          }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("PooledLookup of ids that nothing filled is what the ops are, in whatever order the segments come", () => {
    const segments = fc.array(fc.integer({ min: -1, max: 9 }), { maxLength: 6 });
    const sorted = segments.map((list) => list.map(Math.abs).sort((a, b) => a - b));
    const ids = fc.array(fc.integer({ min: -1, max: 10 }), { maxLength: 6 });
    const inRange = ids.map((list) => list.map((id) => Math.min(Math.abs(id), 9)));
    const combiner = fc.constantFrom("Sum", "Mean", "SqrtN");
    fc.assert(
      fc.property(fc.oneof(segments, sorted), fc.oneof(ids, inRange), fc.boolean(), combiner, (of, at, isCut, op) => {
        const count = isCut ? Math.min(of.length, at.length) : undefined;
        const [looked, into] = [at.slice(0, count), of.slice(0, count)];
        const table = zeros("float32", [10, 5]);
        for (let i = 0; i < 50; i++) table.data[i] = Math.fround(Math.sin(i));
        const [ids, segments] = [int64s(looked, [looked.length]), int64s(into, [into.length])];
        assert.deepEqual(
          outcome(() => run("PooledLookup", [table, ids, segments], { combiner: op.toLowerCase() })),
          outcome(() => {
            const [unique, positions] = run("Unique", [ids], { out_idx: "int32" });
            const [rows] = run("Gather", [table, unique!]);
            return run(`SparseSegment${op}`, [rows!, positions!, segments]);
          }),
        );
      }),
      { numRuns: 1000 },
    );
  });

  it("PresentElements is what the ops are", () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 3 });
    const dense = fc.tuple(shapes, fc.constantFrom("string", "int64", "int32"), fc.infiniteStream(fc.nat(2)));
    fc.assert(
      fc.property(dense, ([shape, dtype, stream]) => {
        const numbers = [...stream.take(shape.reduce((product, dim) => product * dim, 1))];
        const of = (values: readonly number[], dims: number[]): Tensor =>
          dtype === "string"
            ? strings(
                dims,
                values.map((n) => "ab".slice(0, n)),
              )
            : dtype === "int64"
              ? int64s(values, dims)
              : int32s(values, dims);
        const [x, absent] = [of(numbers, shape), of([0], [])];
        assert.deepEqual(
          outcome(() => run("PresentElements", [x, absent])),
          outcome(() => {
            const [indices] = run("Where", run("NotEqual", [x, absent], { incompatible_shape_error: true }));
            return [indices!, ...run("GatherNd", [x, indices!])];
          }),
        );
      }),
      { numRuns: 300 },
    );
  });
});
