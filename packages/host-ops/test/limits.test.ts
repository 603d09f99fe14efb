import assert from "node:assert/strict";
import { Attrs, type AttrValue, type HostValue } from "@shardserve/graph";
import { elementCount, scalar, strings, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

function run(op: string, inputs: readonly Tensor[], attrs: Record<string, AttrValue> = {}): readonly HostValue[] {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return hostKernels.get(op)!({ node, inputs, state: newState() }) as readonly HostValue[];
}

const ints = (...values: number[]) => tensor("int32", [values.length], Int32Array.from(values));

const zeros = (...shape: number[]) => tensor("float32", shape, new Float32Array(elementCount(shape)));

const TRIANGLE = { lower: true, adjoint: false };
/** Far more around the images than their windows, which are far apart. */
const PADDED = {
  Tout: "qint8",
  window_strides: [2n ** 15n, 2n ** 15n],
  padding: "EXPLICIT",
  explicit_padding: [2n ** 15n, 0n, 2n ** 15n, 0n],
  lhs_quantization_min_val: -128n,
  lhs_quantization_max_val: 127n,
  rhs_quantization_min_val: -128n,
  rhs_quantization_max_val: 127n,
  output_quantization_min_val: -128n,
  output_quantization_max_val: 127n,
};

describe("sizes that a request chooses", () => {
  const hostile: readonly [string, () => unknown][] = [
    ["Fill", () => run("Fill", [ints(1 << 30, 1 << 30), scalar("float32", 0)])],
    ["Fill of strings", () => run("Fill", [ints(1 << 30), strings([], ["x".repeat(100)])])],
    ["Fill of long strings", () => run("Fill", [ints(1 << 20), strings([], ["x".repeat(10_000)])])],
    ["Range", () => run("Range", [scalar("float32", 0), scalar("float32", 1e30), scalar("float32", 1)])],
    ["Range of int64", () => run("Range", [scalar("int64", 0), scalar("int64", 2 ** 50), scalar("int64", 1)])],
    ["Tile", () => run("Tile", [ints(1, 2), ints(2 ** 31 - 1)])],
    [
      "OneHot",
      () =>
        run("OneHot", [ints(0, 1), scalar("int32", 2 ** 31 - 1), scalar("float32", 1), scalar("float32", 0)], {
          axis: -1,
        }),
    ],
    ["BroadcastTo", () => run("BroadcastTo", [scalar("float64", 0), ints(1 << 15, 1 << 15)])],
    ["Pad", () => run("Pad", [ints(1), tensor("int32", [1, 2], Int32Array.of(2 ** 31 - 1, 0))])],
    ["LinSpace", () => run("LinSpace", [scalar("float32", 0), scalar("float32", 1), scalar("int32", 2 ** 31 - 1)])],
    [
      "Bincount",
      () => run("Bincount", [ints(0), scalar("int32", 2 ** 31 - 1), tensor("float32", [0], new Float32Array(0))]),
    ],
    [
      "SparseToDense",
      () =>
        run("SparseToDense", [ints(0), ints(2 ** 31 - 1), scalar("float32", 0), scalar("float32", 0)], {
          validate_indices: true,
        }),
    ],
    [
      "broadcasting",
      () =>
        run("AddV2", [
          tensor("float32", [1 << 15, 1], new Float32Array(1 << 15)),
          tensor("float32", [1 << 15], new Float32Array(1 << 15)),
        ]),
    ],
    [
      "RaggedRange",
      () =>
        run("RaggedRange", [scalar("int64", 0), scalar("int64", 2 ** 40), scalar("int64", 1)], { Tsplits: "int64" }),
    ],
    [
      "rows of a sparse matrix",
      () =>
        run("SparseTensorToCSRSparseMatrix", [
          tensor("int64", [0, 2], new BigInt64Array(0)),
          tensor("float32", [0], new Float32Array(0)),
          tensor("int64", [2], BigInt64Array.of(2n ** 30n, 2n)),
        ]),
    ],
    [
      "random numbers",
      () => run("NonDeterministicInts", [ints(1 << 15, 1 << 15)], { dtype: "int64", shape_dtype: "int32" }),
    ],
    [
      "dimensions and indices of UnravelIndex",
      () => run("UnravelIndex", [ints(...Array(20_000).fill(0)), ints(...Array(20_000).fill(1))]),
    ],
    ["Q of a tall matrix", () => run("Qr", [zeros(1 << 15, 1)], { full_matrices: true })],
    ["empty matrices of a batch", () => run("MatrixDeterminant", [zeros(2 ** 26, 0, 0)])],
    [
      "batches of systems that are broadcast",
      () => run("MatrixTriangularSolve", [zeros(1 << 14, 1, 1, 1), zeros(1 << 14, 1, 1)], TRIANGLE),
    ],
    [
      "padding of a quantised convolution",
      () => {
        const [one, none] = [tensor("float32", [], Float32Array.of(1)), tensor("int32", [], Int32Array.of(0))];
        const bytes = tensor("qint8", [1, 1, 1, 1], new Int8Array(1));
        return run("UniformQuantizedConvolution", [bytes, bytes, one, none, one, none, one, none], PADDED);
      },
    ],
  ];
  for (const [name, call] of hostile) {
    it(`${name} beyond the limit is refused, not allocated`, () => {
      assert.throws(call, { code: "RESOURCE_EXHAUSTED" });
    });
  }
});

describe("NonDeterministicInts", () => {
  it("draws other numbers in every run", () => {
    const draw = (): Tensor =>
      run("NonDeterministicInts", [ints(2, 3)], { dtype: "int32", shape_dtype: "int32" })[0] as Tensor;
    const [first, second] = [draw(), draw()];
    assert.deepEqual(first.shape, [2, 3]);
    assert.notDeepEqual(first.data, second.data);
  });
});

describe("BoostedTreesBucketize", () => {
  // TensorFlow 2.21 registers the op without a kernel, so there is no golden: rules from quantile_ops.cc of 2.5.
  it("takes the first boundary that is not below, the last bucket for what lies above, 0 without boundaries", () => {
    const values = tensor("float32", [6], Float32Array.of(-1, 0, 0.5, 1, 5, 9));
    const buckets = tensor("float32", [3], Float32Array.of(0, 1, 5));
    const [found] = run("BoostedTreesBucketize", [values, buckets], { num_features: 1 }) as Tensor[];
    assert.deepEqual([...(found!.data as Int32Array)], [0, 0, 1, 1, 2, 2]);
    const none = tensor("float32", [0], new Float32Array(0));
    const [zeros] = run("BoostedTreesBucketize", [values, none], { num_features: 1 }) as Tensor[];
    assert.deepEqual([...(zeros!.data as Int32Array)], [0, 0, 0, 0, 0, 0]);
  });
});
