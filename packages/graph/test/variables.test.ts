import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import type { VariableBinding } from "@shardserve/savedmodel";
import { resolveVariables } from "../src/import/resolve-variables.js";
import { type VariableTable, writtenVariables } from "../src/import/variables.js";
import { programOf, textOf } from "./text-graph.js";

function table(bindings: Record<string, VariableBinding>, written: string[] = []): VariableTable {
  const entries = new Map([
    ["key", { dtype: "float32" as const, shape: [4, 2] }],
    ["whole", { dtype: "float32" as const, shape: [10, 2] }],
  ]);
  return { bindings: new Map(Object.entries(bindings)), entries, written: new Set(written) };
}

describe("resolveVariables", () => {
  it("makes frozen variables leaves that know their checkpoint tensor", () => {
    const program = programOf("v = VarHandleOp()\nh = Identity(v)\nr = ReadVariableOp(h)\ny = Neg(r)", "y");
    const { program: result, mutable } = runAtOnce(resolveVariables(program, table({ v: { checkpointKey: "key" } })));
    assert.deepEqual(textOf(result), ["r = Identity(v)", "v = Variable()", "y = Neg(r)"]);
    const { attrs } = result.graph.get("v")!;
    assert.deepEqual(
      [attrs.text("checkpointKey"), attrs.dtype("dtype"), attrs.shape("shape")],
      ["key", "float32", [4, 2]],
    );
    assert.equal(mutable.size, 0);
  });

  it("reads TensorFlow 1 references", () => {
    const program = programOf("v = VariableV2() dtype=float32 shape=[]\nread = Identity(v)\ny = Neg(read)", "y");
    const { program: result } = runAtOnce(resolveVariables(program, table({ v: { checkpointKey: "key" } })));
    assert.deepEqual(textOf(result), ["read = Identity(v)", "v = Variable()", "y = Neg(read)"]);
  });

  it("makes plain gathers of gathers on resources", () => {
    const program = programOf(
      `v = VarHandleOp()
       ids = Placeholder()
       a = ResourceGather(v, ids) dtype=float32 Tindices=int64
       b = ResourceGatherNd(v, ids) dtype=float32 Tindices=int64
       c = ResourceGather(v, ids) dtype=float32 Tindices=int64 batch_dims=1`,
      "a b c",
    );
    const { program: result } = runAtOnce(resolveVariables(program, table({ v: { checkpointKey: "key" } })));
    assert.deepEqual(textOf(result), [
      "a = Gather(v, ids)",
      "b = GatherNd(v, ids)",
      "c = GatherV2(v, ids, c/axis)",
      "c/axis = Const()",
      "ids = Placeholder()",
      "v = Variable()",
    ]);
  });

  it("knows the shape of a part of a partitioned variable", () => {
    const program = programOf("v = VarHandleOp()\ns = VariableShape(v) out_type=int32", "s");
    const slice = { fullShape: [10, 2], start: [6, 0], shape: [4, 2] };
    const { program: result } = runAtOnce(resolveVariables(program, table({ v: { checkpointKey: "whole", slice } })));
    assert.deepEqual([...(result.graph.get("s")!.attrs.tensor("value").data as Int32Array)], [4, 2]);
  });

  it("leaves written variables, and those that the checkpoint lacks, to the host", () => {
    const text = "v = VarHandleOp() shared_name=counter shape=[]\nr = ReadVariableOp(v) dtype=float32";
    const { program, mutable } = runAtOnce(
      resolveVariables(programOf(text, "r"), table({ v: { checkpointKey: "key" } }, ["v"])),
    );
    assert.deepEqual(textOf(program), ["r = ReadVariableOp(v)", "v = VarHandleOp()"]);
    assert.deepEqual([...mutable], [["counter", "key"]]);
    assert.deepEqual(
      [...runAtOnce(resolveVariables(programOf(text, "r"), table({}))).mutable],
      [["counter", undefined]],
    );
  });

  it("rewrites mutable TensorFlow 1 references to handles, and reads after a write anew", () => {
    const program = programOf(
      `v = VariableV2() dtype=float32 shape=[]
       one = Const()
       add = AssignAdd(v, one) T=float32
       twice = AssignAdd(add, one) T=float32
       after = Identity(v, ^twice)
       sum = AddV2(v, one, ^twice)`,
      "after sum v",
    );
    const { program: result } = runAtOnce(resolveVariables(program, table({ v: { checkpointKey: "key" } }, ["v"])));
    assert.deepEqual(textOf(result), [
      "add = AssignAdd(v/handle, one)",
      "after = ReadVariableOp(v/handle, ^twice)",
      "one = Const()",
      "sum = AddV2(sum/read_0, one, ^twice)",
      "sum/read_0 = ReadVariableOp(v/handle, ^twice)",
      "twice = AssignAdd(v/handle, one, ^add)",
      "v = ReadVariableOp(v/handle)",
      "v/handle = VarHandleOp()",
    ]);
  });

  it("is stable when it runs again", () => {
    const program = programOf(
      "v = VariableV2() dtype=float32 shape=[]\none = Const()\nadd = AssignAdd(v, one) T=float32",
      "add v",
    );
    const bindings = table({ v: { checkpointKey: "key" } }, ["v"]);
    const once = runAtOnce(resolveVariables(program, bindings)).program;
    assert.deepEqual(textOf(runAtOnce(resolveVariables(once, bindings)).program), textOf(once));
  });

  it("says which read leads nowhere", () => {
    const program = programOf("x = Placeholder()\nr = ReadVariableOp(x) dtype=float32", "r");
    assert.throws(
      () => runAtOnce(resolveVariables(program, table({}))),
      /node "r" \(ReadVariableOp\) reads a resource that leads to no variable/,
    );
  });
});

describe("writtenVariables", () => {
  const written = (text: string, outputs: string) => [...writtenVariables(programOf(text, outputs), new Map())];

  it("finds writes through Identity and through references that writes hand on", () => {
    assert.deepEqual(
      written("v = VarHandleOp()\nh = Identity(v)\nx = Const()\nw = AssignVariableOp(h, x)\ny = Identity(x, ^w)", "y"),
      ["v"],
    );
    assert.deepEqual(written("v = VariableV2()\nx = Const()\na = Assign(v, x)\nb = AssignAdd(a, x)", "b"), ["v"]);
  });

  it("does not take reads for writes", () => {
    const text = `v = VarHandleOp()
      u = VariableV2()
      w = VariableV2()
      off = DisableCopyOnRead(v)
      r = ReadVariableOp(v, ^off)
      s = VariableShape(v)
      a = AssignAdd(w, u)
      y = AddN(r, u, a)`;
    assert.deepEqual(written(text, "y s"), ["w"]);
  });
});
