import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { Attrs, type GraphNode, type HostState } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { type Tensor, tensor } from "@shardserve/tensor";
import { withRandomKernels } from "../src/random-kernels.js";

const state: HostState = {
  resources: new Map(),
  variables: new Map(),
  readFile: () => Promise.reject(new Error("no files here")),
};

describe("random kernels", () => {
  const kernels = withRandomKernels(hostKernels, seededRandom(7));
  const node = (op: string, attrs = {}): GraphNode => ({
    name: op,
    op,
    inputs: [],
    controls: [],
    attrs: new Attrs(op, { dtype: "float32", ...attrs }),
  });
  const draw = (op: string, ...shape: number[]) => {
    const inputs = [tensor("int32", [shape.length], Int32Array.from(shape))];
    return (kernels.get(op)!({ node: node(op), inputs, state }) as Tensor<"float32">[])[0]!;
  };

  it("draws from the distributions", () => {
    for (const [op, mean, deviation, bound] of [
      ["RandomUniform", 0.5, Math.sqrt(1 / 12), 1],
      ["RandomStandardNormal", 0, 1, 10],
      ["TruncatedNormal", 0, 0.8796, 2],
    ] as const) {
      const { data, shape } = draw(op, 200, 100);
      assert.deepEqual(shape, [200, 100]);
      const average = data.reduce((sum, value) => sum + value, 0) / data.length;
      const spread = Math.sqrt(data.reduce((sum, value) => sum + (value - average) ** 2, 0) / data.length);
      assert.ok(Math.abs(average - mean) < 0.03, `${op}: mean ${average}`);
      assert.ok(Math.abs(spread - deviation) < 0.03, `${op}: deviation ${spread}`);
      assert.ok(data.every((value) => Math.abs(value) < bound));
    }
  });

  it("leaves seeded ops and other kernels alone", () => {
    const context = { inputs: [], outputs: [{ dtype: "float32" as const, shape: [1] }], constant: () => undefined };
    assert.equal(kernels.supports(node("RandomUniform"), context), true);
    assert.match(String(kernels.supports(node("RandomUniform", { seed: 3 }), context)), /seed/);
    assert.equal(kernels.get("Reshape"), hostKernels.get("Reshape"));
  });

  it("refuses impossible shapes", () => {
    assert.throws(() => draw("RandomUniform", -1), { code: "INVALID_ARGUMENT" });
    assert.throws(() => draw("RandomUniform", 2 ** 30, 2 ** 10), { code: "RESOURCE_EXHAUSTED" });
  });
});
