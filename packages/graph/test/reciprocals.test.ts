import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { toNumbers } from "@shardserve/tensor";
import { infer } from "../src/infer/infer.js";
import type { Program } from "../src/ir/program.js";
import { useReciprocals } from "../src/passes/rewrites/reciprocals.js";
import { fakeKernels } from "./fakes.js";
import { programOf, textOf } from "./text-graph.js";

const rewritten = (program: Program): Program => runAtOnce(useReciprocals(program, infer(program), fakeKernels()));

describe("division by a constant", () => {
  it("becomes a product, as in TensorFlow's optimiser", () => {
    const program = programOf(
      `x = Placeholder() dtype=float32 shape=[-1]
       c = Const() value=float32[2]:7,0
       y = RealDiv(x, c) T=float32`,
      "y",
    );
    const result = rewritten(program);
    assert.equal(result.graph.get("y")!.op, "Mul");
    const divisor = result.graph.get(result.graph.get("y")!.inputs[1]!.node)!;
    assert.deepEqual(toNumbers(divisor.attrs.tensor("value")), [Math.fround(1 / 7), Number.POSITIVE_INFINITY]);
    assert.equal(rewritten(result), result, "there is nothing left to do");
  });

  it("stays for integers, and where the divisor is no constant", () => {
    const program = programOf(
      `x = Placeholder() dtype=float32 shape=[-1]
       n = Placeholder() dtype=int32 shape=[-1]
       c = Const() value=int32[]:7
       y = RealDiv(x, x) T=float32
       z = Div(n, c) T=int32`,
      "y z",
    );
    assert.deepEqual(textOf(rewritten(program)), textOf(program));
  });
});
