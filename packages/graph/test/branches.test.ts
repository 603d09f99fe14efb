import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { resolveBranches } from "../src/passes/control/branches.js";
import { reduceControls } from "../src/passes/control/effects.js";
import { importGraph, parseRef } from "../src/import/import.js";
import { prune } from "../src/ir/program.js";
import { metaGraphOf, programOf, textOf } from "./text-graph.js";

describe("resolveBranches", () => {
  const branch = (name: string, op: string) => ({
    name,
    inputs: "x:float32",
    outputs: "y:float32",
    nodes: `n = ${op}(x) T=float32`,
    ret: "y=n:y:0",
  });
  const functions = [branch("yes", "Neg"), branch("no", "Exp")];

  function decided(nodes: string): string[] {
    const { graph, library } = runAtOnce(importGraph(metaGraphOf({ nodes, functions }).graphDef!));
    const program = prune({ graph, outputs: [parseRef("y")], targets: [] });
    return textOf(prune(resolveBranches(program, library)));
  }

  it("inlines the branch that a constant picks", () => {
    const graph = (condition: string) =>
      `x = Placeholder() dtype=float32\nc = Const() value=${condition}\ny = StatelessIf(c, x) then_branch=yes else_branch=no`;
    assert.deepEqual(decided(graph("bool[]:1")), ["x = Placeholder()", "y = IdentityN(y/n)", "y/n = Neg(x)"]);
    assert.ok(decided(graph("bool[]:0")).includes("y/n = Exp(x)"));
    // Tensors that are no scalars count by having elements, strings by not being empty.
    assert.ok(decided(graph("float32[0]:")).includes("y/n = Exp(x)"));
    assert.ok(decided(graph("string[]:a")).includes("y/n = Neg(x)"));
  });

  it("takes the last branch for an index out of range", () => {
    const graph = "x = Placeholder() dtype=float32\nc = Const() value=int32[]:9\ny = Case(c, x) branches=yes,no";
    assert.ok(decided(graph).includes("y/n = Exp(x)"));
  });

  it("leaves a choice that depends on the request", () => {
    const graph =
      "x = Placeholder() dtype=float32\nc = Placeholder() dtype=bool\ny = StatelessIf(c, x) then_branch=yes else_branch=no";
    assert.ok(decided(graph).includes("y = StatelessIf(c, x)"));
  });

  const CONDITIONAL = `
    x = Placeholder() dtype=float32
    p = Const() value=bool[]:%
    s = Switch(p, p) T=bool
    on = Identity(s:1)
    off = Identity(s)
    data = Switch(x, p) T=float32
    a = Neg(data:1)
    b = Const(^off) value=float32[]:7
    y = Merge(b, a)`;

  it("follows a constant predicate through Switch and Merge", () => {
    const yes = runAtOnce(reduceControls(programOf(CONDITIONAL.replace("%", "1"), "y y:1")));
    const result = prune(resolveBranches(yes, new Map()));
    assert.deepEqual(textOf(result), ["a = Neg(x)", "x = Placeholder()", "y/value_index = Const()"]);
    assert.deepEqual(result.outputs[0], { node: "a", index: 0 });
  });

  it("knows a constant of the dead branch by the branch that it waits for", () => {
    const no = runAtOnce(reduceControls(programOf(CONDITIONAL.replace("%", "0"), "y")));
    const result = prune(resolveBranches(no, new Map()));
    assert.deepEqual(result.outputs[0], { node: "b", index: 0 });
  });
});
