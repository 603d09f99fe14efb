import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import type { KernelTable } from "../src/ir/host.js";
import { deferAsserts } from "../src/passes/asserts/deferred-asserts.js";
import { fakeKernels } from "./fakes.js";
import { programOf } from "./text-graph.js";

/** A chain of additions to what a MatMul gives, with a check of every link, and the result. */
function checkedChain(length: number) {
  const links = Array.from(
    { length },
    (_, i) => `
      y${i + 1} = AddV2(y${i}, y${i}) T=float32
      ok${i} = IsFinite(y${i}) T=float32
      check${i} = Assert(ok${i}, y${i}, y${i}) T=[1,1]`,
  );
  const nodes = `
    x = Placeholder() dtype=float32 shape=[-1,4]
    y0 = MatMul(x, x) T=float32
    ${links.join("")}
    z = Neg(y${length}, ${links.map((_, i) => `^check${i}`).join(", ")}) T=float32`;
  return programOf(nodes, "z");
}

describe("deferAsserts", () => {
  it("asks of each node once what the host can do, however many checks share it", () => {
    const program = checkedChain(60);
    const asked = new Map<string, number>();
    const kernels: KernelTable = {
      ...fakeKernels("IsFinite Assert"),
      supports: ({ name }) => {
        asked.set(name, (asked.get(name) ?? 0) + 1);
        return true;
      },
    };
    const { program: deferred, dropped } = runAtOnce(deferAsserts(program, infer(program), kernels));
    assert.equal(deferred.targets.length, 60, "all are checked, of what is computed anyway");
    assert.equal(dropped.size, 0);
    assert.ok(asked.size > 100);
    assert.deepEqual(new Set(asked.values()), new Set([1]));
  });
});
