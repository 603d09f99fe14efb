/** Steps of variables so large that others run between their pieces. */
import assert from "node:assert/strict";
import { Attrs, type AttrValue, type HostState, type HostValue } from "@shardserve/graph";
import { scalar, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

const COUNT = 1 << 18;

function run(
  state: HostState,
  op: string,
  inputs: readonly HostValue[],
  attrs: Record<string, AttrValue> = {},
): ReturnType<NonNullable<ReturnType<typeof hostKernels.get>>> {
  const node = {
    name: "node",
    op,
    inputs: inputs.map((_, index) => ({ node: "input", index })),
    controls: [],
    attrs: new Attrs(op, attrs),
  };
  return hostKernels.get(op)!({ node, inputs, state });
}

const full = (value: number): Tensor => tensor("float32", [COUNT], new Float32Array(COUNT).fill(value));

describe("steps of large variables", () => {
  it("let others run, and those of one variable follow each other", async () => {
    const state = newState();
    const [handle] = await run(state, "VarHandleOp", [], { dtype: "float32", shape: [COUNT], shared_name: "v" });
    await run(state, "AssignVariableOp", [handle!, full(8)], { dtype: "float32" });
    const step = (): ReturnType<typeof run> =>
      run(state, "ResourceApplyGradientDescent", [handle!, scalar("float32", 0.5), full(2)]);
    const steps = [step(), step()];
    assert(steps.every((outcome) => outcome instanceof Promise));
    await Promise.all(steps);
    const [value] = (await run(state, "ReadVariableOp", [handle!], { dtype: "float32" })) as Tensor[];
    assert.deepEqual(value!.data, new Float32Array(COUNT).fill(6));
  });
});
