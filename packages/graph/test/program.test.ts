import assert from "node:assert/strict";
import { prune, rewrite, topologicalOrder } from "../src/ir/program.js";
import { programOf, textOf } from "./text-graph.js";

describe("prune", () => {
  it("keeps what outputs and targets need, over control edges too", () => {
    const program = programOf(
      `a = Placeholder()
       b = NoOp(^c)
       c = Const()
       d = Identity(a, ^b)
       e = Identity(a)
       f = NoOp()`,
      "d",
      "f",
    );
    assert.deepEqual([...prune(program).graph.keys()].sort(), ["a", "b", "c", "d", "f"]);
  });

  it("names a node that is missing", () => {
    assert.throws(() => prune(programOf("a = Identity(gone)", "a")), /node "gone", which it does not have/);
  });
});

describe("topologicalOrder", () => {
  it("refuses a cycle by name", () => {
    const program = programOf("a = Identity(b)\nb = Identity(a)", "a");
    assert.throws(() => topologicalOrder(program), /cycle through node "a"/);
  });

  it("lets TensorFlow 1 loops be", () => {
    const program = programOf(
      `start = Placeholder()
       enter = Enter(start)
       merge = Merge(enter, next)
       switch = Switch(merge, cond)
       cond = LoopCond(merge)
       next = NextIteration(switch:1)
       exit = Exit(switch)`,
      "exit",
    );
    assert.equal(topologicalOrder(program).length, 7);
  });

  it("does not overflow on a graph 200 000 nodes deep", () => {
    const lines = ["n0 = Placeholder()"];
    for (let i = 1; i < 200_000; i++) lines.push(`n${i} = Identity(n${i - 1})`);
    assert.equal(topologicalOrder(programOf(lines.join("\n"), "n199999")).length, 200_000);
  });
});

describe("rewrite", () => {
  it("follows aliases to their end and leaves other nodes as they are", () => {
    const program = programOf("a = Placeholder()\nb = Identity(a)\nc = Identity(b)\nd = Neg(c)", "d c");
    const aliases = new Map([
      ["c", { node: "b", index: 0 }],
      ["b", { node: "a", index: 0 }],
    ]);
    const result = rewrite(program, aliases);
    assert.deepEqual(result.outputs, [
      { node: "d", index: 0 },
      { node: "a", index: 0 },
    ]);
    assert.ok(textOf(prune(result)).includes("d = Neg(a)"));
    assert.equal(result.graph.get("a"), program.graph.get("a"));
  });
});
