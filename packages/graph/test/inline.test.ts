import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { importGraph, parseRef } from "../src/import/import.js";
import { inlineCalls } from "../src/ir/inline.js";
import { type Program, prune } from "../src/ir/program.js";
import { metaGraphOf, type ModelText, textOf } from "./text-graph.js";

function inlined(text: ModelText, outputs: string, targets = ""): Program {
  const { graph, library } = runAtOnce(importGraph(metaGraphOf(text).graphDef!));
  const names = targets.split(" ").filter((name) => name !== "");
  return inlineCalls(prune({ graph, outputs: outputs.split(" ").map(parseRef), targets: names }), library);
}

const DOUBLE = {
  name: "double",
  inputs: "x:float32",
  outputs: "y:float32",
  nodes: "add = AddV2(x, x) T=float32",
  ret: "y=add:z:0",
};

describe("importGraph", () => {
  it("reads the three spellings of an input", () => {
    const { graph } = runAtOnce(
      importGraph(metaGraphOf({ nodes: "a = Placeholder()\nb = IdentityN(a:0, a, c:2, ^a)\nc = Split()" }).graphDef!),
    );
    assert.deepEqual(graph.get("b")!.inputs, [
      { node: "a", index: 0 },
      { node: "a", index: 0 },
      { node: "c", index: 2 },
    ]);
    assert.deepEqual(graph.get("b")!.controls, ["a"]);
  });

  it("refuses two nodes of one name", () => {
    assert.throws(
      () => runAtOnce(importGraph(metaGraphOf({ nodes: "a = NoOp()\na = NoOp()" }).graphDef!)),
      /two nodes named "a"/,
    );
  });

  it("refuses names that read like another node's output", () => {
    const { graphDef } = metaGraphOf({ nodes: "a = Split()\nb = NoOp()" });
    graphDef!.node[1]!.name = "a:1";
    assert.throws(() => runAtOnce(importGraph(graphDef!)), /the name of node "a:1" has a ":" in it/);
    const body = { ...DOUBLE, nodes: "add:1 = AddV2(x, x) T=float32" };
    const text = { nodes: "x = Placeholder()\ncall = double(x)", functions: [body] };
    assert.throws(() => inlined(text, "call"), /the name of node "add:1" has a ":" in it/);
  });
});

describe("inlineCalls", () => {
  it("inlines what a BatchFunction would run for several callers together", () => {
    const nodes = "x = Placeholder()\ncall = BatchFunction(x) f=double Tin=float32 Tout=float32";
    assert.deepEqual(textOf(inlined({ nodes, functions: [DOUBLE] }, "call")), [
      "call = IdentityN(call/add)",
      "call/add = AddV2(x, x)",
      "x = Placeholder()",
    ]);
  });

  it("inlines PartitionedCall and ops that are function names, and keeps the call's name", () => {
    const nodes = "x = Placeholder()\ncall = PartitionedCall(x) f=double\ndirect = double(call)";
    assert.deepEqual(textOf(inlined({ nodes, functions: [DOUBLE] }, "direct")), [
      "call = IdentityN(call/add)",
      "call/add = AddV2(x, x)",
      "direct = IdentityN(direct/add)",
      "direct/add = AddV2(call, call)",
      "x = Placeholder()",
    ]);
  });

  it("inlines calls in calls", () => {
    const outer = {
      name: "outer",
      inputs: "x:float32",
      outputs: "y:float32",
      nodes: "inner = StatefulPartitionedCall(x) f=double Tin=float32 Tout=float32",
      ret: "y=inner:output:0",
    };
    const program = inlined(
      { nodes: "x = Placeholder()\ncall = PartitionedCall(x) f=outer", functions: [DOUBLE, outer] },
      "call",
    );
    assert.deepEqual(textOf(program), [
      "call = IdentityN(call/inner)",
      "call/inner = IdentityN(call/inner/add)",
      "call/inner/add = AddV2(x, x)",
      "x = Placeholder()",
    ]);
  });

  it("counts flat output indexes over output arguments of several values", () => {
    const body = {
      name: "body",
      inputs: "x:float32",
      outputs: "y:float32",
      nodes: `axis = Const() value=int32[]:0 dtype=int32
              split = Split(axis:output:0, x) num_split=3 T=float32
              unique = UniqueWithCounts(split:output:2) T=float32
              top = TopKV2(unique:y:0, unique:count:0) T=float32`,
      ret: "y=top:values:0",
    };
    const program = inlined(
      { nodes: "x = Placeholder()\ncall = PartitionedCall(x) f=body", functions: [body] },
      "call",
    );
    assert.ok(textOf(program).includes("call/unique = UniqueWithCounts(call/split:2)"));
    assert.ok(textOf(program).includes("call/top = TopKV2(call/unique, call/unique:2)"));
  });

  it("takes a variable that a loop hands on from before the loop, and nothing else", () => {
    const loop = (ret: string, nodes: string) =>
      textOf(
        inlined(
          {
            nodes: `x = Placeholder() dtype=float32
              v = VarHandleOp()
              u = VarHandleOp()
              w = While(x, v, u) cond=c body=b T=float32,resource,resource
              shape = VariableShape(w:1)
              other = VariableShape(w:2)`,
            functions: [
              {
                name: "b",
                inputs: "x:float32 v:resource u:resource",
                outputs: "y:float32 s:resource t:resource",
                nodes,
                ret,
              },
            ],
          },
          "shape other",
        ),
      ).filter((line) => !/Placeholder|VarHandleOp|While/.test(line));
    assert.deepEqual(loop("y=x s=v t=i:output:0", "j = Identity(u) T=resource\ni = Identity(j:output:0) T=resource"), [
      "other = VariableShape(w/before_2)",
      "shape = VariableShape(w/before_1)",
      "w/before_1 = Identity(v)",
      "w/before_2 = Identity(u)",
    ]);
    // Both results come the same way, which ends where only the second begins.
    assert.deepEqual(
      loop("y=x s=j:output:0 t=i:output:0", "j = Identity(u) T=resource\ni = Identity(j:output:0) T=resource"),
      ["other = VariableShape(w/before_2)", "shape = VariableShape(w:1)", "w/before_2 = Identity(u)"],
    );
    assert.deepEqual(
      loop("y=x s=j:output:0 t=i:output:0", "j = Identity(i:output:0) T=resource\ni = Identity(j:output:0) T=resource"),
      ["other = VariableShape(w:2)", "shape = VariableShape(w:1)"],
    );
    assert.deepEqual(loop("y=x s=u t=v", ""), ["other = VariableShape(w:2)", "shape = VariableShape(w:1)"]);
    const writes = "a = AssignVariableOp(v, x) dtype=float32";
    assert.deepEqual(loop("y=x s=v t=u", writes), [
      "other = VariableShape(w/before_2)",
      "shape = VariableShape(w/before_1)",
      "w/before_1 = Identity(v, ^w)",
      "w/before_2 = Identity(u, ^w)",
    ]);
  });

  it("fills placeholders from the attributes of the call", () => {
    const generic = {
      name: "generic",
      inputs: "x:$T",
      outputs: "y:$T",
      nodes: "cast = Cast(x) SrcT=$T DstT=float32",
      ret: "y=cast:y:0",
    };
    const program = inlined({ nodes: "x = Placeholder()\ncall = generic(x) T=int64", functions: [generic] }, "call");
    assert.equal(program.graph.get("call/cast")!.attrs.dtype("SrcT"), "int64");
    assert.throws(
      () => inlined({ nodes: "x = Placeholder()\ncall = generic(x)", functions: [generic] }, "call"),
      /called without its attribute "T"/,
    );
  });

  it("keeps the effects of a body and their order", () => {
    const body = {
      name: "body",
      inputs: "v:resource x:float32",
      outputs: "y:float32",
      nodes: `assign = AssignVariableOp(v, x) dtype=float32
              read = ReadVariableOp(v, ^assign) dtype=float32`,
      ret: "y=read:value:0",
      controlRet: "done=assign",
    };
    const nodes =
      "x = Placeholder()\nv = VarHandleOp()\nfirst = NoOp()\ncall = StatefulPartitionedCall(v, x, ^first) f=body\nout = Identity(x, ^call)";
    assert.deepEqual(textOf(inlined({ nodes, functions: [body] }, "out")), [
      "call = IdentityN(call/read, ^call/assign, ^call/entry)",
      "call/assign = AssignVariableOp(v, x, ^call/entry)",
      "call/entry = NoOp(^first)",
      "call/read = ReadVariableOp(v, ^call/assign, ^call/entry)",
      "first = NoOp()",
      "out = Identity(x, ^call)",
      "v = VarHandleOp()",
      "x = Placeholder()",
    ]);
  });

  it("does not take names that the graph has", () => {
    const nodes = "x = Placeholder()\ncall/add = Neg(x)\ncall = double(call/add)";
    assert.deepEqual(textOf(inlined({ nodes, functions: [DOUBLE] }, "call")), [
      "call = IdentityN(call/add_1)",
      "call/add = Neg(x)",
      "call/add_1 = AddV2(call/add, call/add)",
      "x = Placeholder()",
    ]);
  });

  it("refuses recursion, unknown functions and dangling names", () => {
    const loop = { ...DOUBLE, name: "loop", nodes: "a = loop(x)\nb = loop(x)\nc = loop(x)", ret: "y=a:y:0" };
    assert.throws(
      () => inlined({ nodes: "x = Placeholder()\ncall = loop(x)", functions: [loop] }, "call"),
      /endless recursion/,
    );
    assert.throws(
      () => inlined({ nodes: "call = PartitionedCall() f=gone" }, "call"),
      /function "gone", which the model lacks/,
    );
    const dangling = { ...DOUBLE, nodes: "add = AddV2(x, z) T=float32" };
    assert.throws(
      () => inlined({ nodes: "x = Placeholder()\ncall = double(x)", functions: [dangling] }, "call"),
      /function "double", called by "call", refers to "z"/,
    );
  });
});
