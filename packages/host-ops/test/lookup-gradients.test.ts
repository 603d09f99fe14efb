/** Lookups of so many rows that they are put in order part by part. */
import assert from "node:assert/strict";
import { Attrs } from "@shardserve/graph";
import { scalar, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

const COUNT = 20_000;

describe("gradients of lookups", () => {
  for (const [what, tableRows, rowOf] of [
    ["spread over the table", 1 << 20, (i: number) => (i * 7919) % (1 << 20)],
    ["that repeat", 30_000, (i: number) => (i * i) % 30_000],
    ["at one end of a huge table", 2 ** 31 - 1, (i: number) => i % 9999],
  ] as const) {
    it(`name rows ${what} in order and once`, async () => {
      const rows = Int32Array.from({ length: COUNT }, (_, i) => rowOf(i));
      const expected = new Map<number, number>();
      for (const [i, row] of rows.entries()) expected.set(row, (expected.get(row) ?? 0) + (i % 2) + 1);
      const order = [...expected.keys()].sort((a, b) => a - b);
      const op = "SparseSegmentSumGradV2";
      const inputs = [
        tensor("float32", [2, 1], Float32Array.of(1, 2)),
        tensor("int32", [COUNT], rows),
        tensor(
          "int32",
          [COUNT],
          Int32Array.from(rows, (_, i) => i % 2),
        ),
        scalar("int32", tableRows),
      ];
      const node = { name: "node", op, inputs: [], controls: [], attrs: new Attrs(op, {}) };
      const [gradient, unique] = (await hostKernels.get(op)!({ node, inputs, state: newState() })) as Tensor[];
      assert.deepEqual([...(unique!.data as Int32Array)], order);
      assert.deepEqual(
        [...(gradient!.data as Float32Array)],
        order.map((row) => expected.get(row)),
      );
    });
  }
});
