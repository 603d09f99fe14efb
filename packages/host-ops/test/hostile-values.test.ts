/** Values that a request chooses, which must neither hold the process up nor be taken for something else. */
import assert from "node:assert/strict";
import { Attrs, type AttrValue, type HostValue, type TensorList } from "@shardserve/graph";
import { scalar, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

async function run(
  op: string,
  inputs: readonly HostValue[],
  attrs: Record<string, AttrValue> = {},
  signal?: AbortSignal,
): Promise<Tensor[]> {
  const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return (await hostKernels.get(op)!({ node, inputs, state: newState(), ...(signal && { signal }) })) as Tensor[];
}

const ints = (...values: number[]) => tensor("int64", [values.length], BigInt64Array.from(values, BigInt));

/** [rows, columns], with an element everywhere. */
async function sparse(rows: number, columns: number): Promise<Tensor> {
  const indices = Array.from({ length: rows * columns }, (_, i) => [Math.floor(i / columns), i % columns]).flat();
  const values = Float32Array.from({ length: rows * columns }, (_, i) => i + 1);
  const inputs = [
    tensor("int64", [rows * columns, 2], BigInt64Array.from(indices, BigInt)),
    tensor("float32", [rows * columns], values),
    ints(rows, columns),
  ];
  return (await run("SparseTensorToCSRSparseMatrix", inputs))[0]!;
}

const floats = (...shape: number[]) =>
  tensor("float32", shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1));
const int32s = (...values: number[]) => tensor("int32", [values.length], Int32Array.from(values));

/** Gradients that take some milliseconds. */
function gradients(): [string, Tensor[], Record<string, AttrValue>][] {
  const [image, pooled] = [floats(1, 256, 256, 16), floats(1, 128, 128, 16)];
  const resize = { align_corners: false, half_pixel_centers: false };
  const window = { ksize: [1, 2, 2, 1], strides: [1, 2, 2, 1], padding: "VALID", include_batch_in_index: false };
  const places = tensor("int64", pooled.shape, BigInt64Array.from(Array(1 << 18).keys(), BigInt));
  const boxes = tensor("float32", [1, 4], Float32Array.of(0, 0, 1, 1));
  const rows = tensor("int32", [1 << 17], Int32Array.from(Array(1 << 17).keys()));
  const lookup = [floats(1 << 17, 1), rows, rows];
  const range = [scalar("float32", -1), scalar("float32", 1)];
  return [
    ["ResizeBilinearGrad", [image, pooled], resize],
    ["ResizeNearestNeighborGrad", [image, int32s(128, 128)], resize],
    [
      "CropAndResizeGradImage",
      [image, boxes, int32s(0), int32s(1, 128, 128, 16)],
      { T: "float32", method: "bilinear" },
    ],
    ["CropAndResizeGradBoxes", [image, pooled, boxes, int32s(0)], { method: "bilinear" }],
    ["LRNGrad", [image, image, image], { depth_radius: 5, bias: 1, alpha: 1, beta: 0.5 }],
    ["FakeQuantWithMinMaxVarsGradient", [image, image, ...range], { num_bits: 8, narrow_range: false }],
    ["MaxPoolGradWithArgmax", [image, pooled, places], window],
    ["SparseSegmentSumGrad", [...lookup, scalar("int32", 1 << 17)], {}],
    ["SparseSegmentSumGradV2", [...lookup, scalar("int32", 1 << 17)], {}],
    [
      "SparseFillEmptyRowsGrad",
      [tensor("int64", [1 << 17], BigInt64Array.from(Array(1 << 17).keys(), BigInt)), floats(1 << 20)],
      {},
    ],
  ];
}

describe("lists that a request makes long", () => {
  const COUNT = 300_000; // more than a call takes arguments
  const value = floats(COUNT, 1);

  it("take as many elements in one scatter as there are", async () => {
    const all = tensor(
      "int32",
      [COUNT],
      Int32Array.from({ length: COUNT }, (_, i) => i),
    );
    const [list] = (await run("TensorListScatter", [value, all, int32s(1)])) as unknown as [TensorList];
    assert.equal(list.length, COUNT);
    const [handle, flow] = (await run("TensorArrayV3", [scalar("int32", COUNT)], {
      dtype: "float32",
      element_shape: [1],
    })) as unknown as [HostValue, HostValue];
    const [array] = (await run("TensorArrayScatterV3", [handle, all, value, flow])) as unknown as [TensorList];
    assert.equal(array.length, COUNT);
  });

  it("are empty where nothing is scattered", async () => {
    const [list] = (await run("TensorListScatter", [floats(0, 1), int32s(), int32s(1)])) as unknown as [TensorList];
    assert.equal(list.length, 0);
  });
});

describe("values of requests", () => {
  it("a count of binomial numbers that is none gives none, not a search without end", async () => {
    const inputs = [ints(2), ints(1, 2), scalar("float32", Number.NaN), scalar("float32", 0.25)];
    const [drawn] = await run("StatelessRandomBinomial", inputs, { T: "float32", dtype: "float32" });
    assert.deepEqual([...(drawn!.data as Float32Array)], [Number.NaN, Number.NaN]);
  });

  it("a sparse matrix is no list", async () => {
    await assert.rejects(run("TensorListLength", [await sparse(2, 2)]), {
      code: "INVALID_ARGUMENT",
      message: /^Input handle is not a list/,
    });
  });

  it("a product of sparse matrices grows beyond what was reserved", async () => {
    const inputs = [await sparse(20, 1), await sparse(1, 30)];
    const [product] = await run("SparseMatrixSparseMatMul", inputs, { type: "float32" });
    const [dense] = await run("CSRSparseMatrixToDense", [product!], { type: "float32" });
    const expected = Float32Array.from({ length: 600 }, (_, i) => (Math.floor(i / 30) + 1) * ((i % 30) + 1));
    assert.deepEqual(dense!.data, expected);
  });

  const vector = (length: number) => tensor("float32", [length], new Float32Array(length));
  const long: readonly [string, readonly Tensor[], Record<string, AttrValue>][] = [
    ["Einsum", [vector(1 << 16), vector(1 << 16)], { equation: "i,j->" }],
    ["RandomIndexShuffle", [ints(...Array(10_000).keys()), ints(1, 2, 3), scalar("int64", 9_999)], {}],
    ["UnravelIndex", [ints(...Array(10_000).fill(0)), ints(...Array(1000).fill(1))], {}],
    ["Bincount", [tensor("int32", [200_000], new Int32Array(200_000)), scalar("int32", 9), vector(0)], {}],
    ["DenseBincount", [tensor("int32", [200, 1000], new Int32Array(200_000)), scalar("int32", 9), vector(0)], {}],
    ...gradients(),
  ];
  for (const [op, inputs, attrs] of long) {
    it(`${op} lets others run, and ends where nobody waits any more`, async () => {
      const end = new AbortController();
      setImmediate(() => end.abort(new Error("nobody waits")));
      await assert.rejects(run(op, inputs, attrs, end.signal), /nobody waits/);
    });
  }
});
