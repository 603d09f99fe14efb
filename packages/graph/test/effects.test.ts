import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { reduceControls } from "../src/passes/effects.js";
import { programOf, textOf } from "./text-graph.js";

describe("reduceControls", () => {
  it("drops control edges that only order computation", () => {
    const program = programOf(
      `x = Placeholder()
       read = ReadVariableOp(v)
       v = VarHandleOp()
       group = NoOp(^read)
       y = Identity(x, ^group)`,
      "y",
    );
    assert.deepEqual(textOf(runAtOnce(reduceControls(program))), ["x = Placeholder()", "y = Identity(x)"]);
  });

  it("points edges straight at the effect behind NoOps and calls", () => {
    const program = programOf(
      `x = Placeholder()
       ok = Placeholder()
       check = Assert(ok)
       group = NoOp(^check)
       call = IdentityN(x, ^group)
       y = Identity(x, ^call)`,
      "y",
    );
    assert.deepEqual(textOf(runAtOnce(reduceControls(program))), [
      "check = Assert(ok)",
      "ok = Placeholder()",
      "x = Placeholder()",
      "y = Identity(x, ^check)",
    ]);
  });

  it("keeps reads in their place among writes", () => {
    const program = programOf(
      `v = VarHandleOp()
       before = ReadVariableOp(v)
       one = Const()
       add = AssignAddVariableOp(v, one, ^before)
       after = ReadVariableOp(v, ^add)`,
      "before after",
    );
    assert.deepEqual(textOf(runAtOnce(reduceControls(program))), [
      "add = AssignAddVariableOp(v, one, ^before)",
      "after = ReadVariableOp(v, ^add)",
      "before = ReadVariableOp(v)",
      "one = Const()",
      "v = VarHandleOp()",
    ]);
  });

  it("drops edges that the inputs imply", () => {
    const program = programOf(
      `ok = Placeholder()
       x = Placeholder()
       check = Assert(ok)
       a = Identity(x, ^check)
       b = Neg(a)
       y = Identity(b, ^check)`,
      "y",
    );
    assert.ok(textOf(runAtOnce(reduceControls(program))).includes("y = Identity(b)"));
  });

  it("turns targets into the effects that they lead to", () => {
    const program = programOf(
      "t = HashTableV2()\nk = Const()\nfill = LookupTableImportV2(t, k, k)\ninit = NoOp(^fill)",
      "",
      "init",
    );
    assert.deepEqual(runAtOnce(reduceControls(program)).targets, ["fill"]);
  });

  it("splits the results of a call, so that unused ones go", () => {
    const program = programOf(
      `ok = Placeholder()
       check = Assert(ok)
       a = Placeholder()
       b = Placeholder()
       call = IdentityN(a, b, ^check)`,
      "call:1",
    );
    assert.deepEqual(textOf(runAtOnce(reduceControls(program))), [
      "b = Placeholder()",
      "call/result_1 = Identity(b, ^check)",
      "check = Assert(ok)",
      "ok = Placeholder()",
    ]);
  });
});
