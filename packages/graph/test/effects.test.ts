import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { ancestryOf } from "../src/passes/ancestry.js";
import { reduceControls } from "../src/passes/control/effects.js";
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

  it("takes time with the number of controls, not with its square", () => {
    const count = 20_000;
    const checks = Array.from({ length: count }, (_, i) => `check${i} = Assert(ok)`);
    const names = checks.map((_, i) => `^check${i}`).join(", ");
    const program = programOf(
      `ok = Placeholder()\nx = Placeholder()\n${checks.join("\n")}\ngroup = NoOp(${names})\ny = Identity(x, ^group)`,
      "y",
    );
    const before = process.cpuUsage();
    const { graph } = runAtOnce(reduceControls(program));
    const { user, system } = process.cpuUsage(before);
    assert.equal(graph.get("y")!.controls.length, count);
    assert.ok(user + system < 2_000_000, `${user + system} microseconds`);
  });
});

describe("ancestryOf", () => {
  const sets = new Map<string, ReadonlySet<string>>();
  const shared = new Set(["a", "b"]);
  sets
    .set("a", new Set(["a"]))
    .set("b", shared)
    .set("c", shared)
    .set("d", new Set(["d"]));

  it("knows what is behind a node other than itself", () => {
    const isBehind = (names: readonly string[]): string[] =>
      ["a", "b", "d"].filter((name) => ancestryOf(names, sets).isBehindOther(name));
    assert.deepEqual(isBehind(["a", "d"]), []);
    assert.deepEqual(isBehind(["b", "d"]), ["a"], "the largest set's own node");
    assert.deepEqual(isBehind(["b", "c", "d"]), ["a", "b"], "a set of two nodes");
    assert.deepEqual(isBehind(["a", "b", "b"]), ["a"]);
    assert.deepEqual(isBehind(["c", "none"]), ["a", "b"]);
  });

  it("unites sets, and shares what nothing is added to", () => {
    assert.equal(ancestryOf(["a", "c"], sets).union(undefined), shared);
    assert.deepEqual([...ancestryOf(["d", "c"], sets).union("e")].sort(), ["a", "b", "d", "e"]);
    assert.equal(ancestryOf(["none"], sets).union(undefined).size, 0);
  });
});
