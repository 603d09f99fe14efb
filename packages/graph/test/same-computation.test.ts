import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { importModel, type ModelGraph } from "../src/import/model.js";
import { firstOfEqual } from "../src/plan/same-computation.js";
import { type FunctionText, metaGraphOf, type ModelText } from "./text-graph.js";

function modelOf(text: ModelText): ModelGraph {
  return importModel(metaGraphOf(text), { bindings: new Map(), entries: new Map(), initOp: undefined });
}

const SIGNATURE = "x=X:0:float32[-1] -> y=Y:0:float32[-1]";

/** Two signatures, whose nodes end in 1 and 2, and which of them is planned for the second. */
function firstOf(nodes: string, functions: readonly FunctionText[] = [], second = SIGNATURE): string {
  const inputs = "x1 = Placeholder() dtype=float32 shape=[-1]\nx2 = Placeholder() dtype=float32 shape=[-1]\n";
  const spell = (signature: string, n: number): string => signature.replace("X:", `x${n}:`).replace("Y:", `y${n}:`);
  const signatures = { a: spell(SIGNATURE, 1), b: spell(second, 2) };
  return runAtOnce(firstOfEqual(modelOf({ nodes: `${inputs}${nodes}`, functions, signatures }))).get("b")!;
}

/** A function of one argument `x`, whose node `y` it returns. */
function functionOf(name: string, nodes: string, ret = "y:z:0"): FunctionText {
  return { name, inputs: "x:float32", outputs: "y:float32", nodes, ret: `y=${ret}` };
}

const NOISE = `s = Const() dtype=int32 value=int32[1]:1
  y = RandomUniform(s:output:0) T=int32 dtype=float32 seed=1 seed2=2`;

describe("firstOfEqual", () => {
  it("finds the twin that calls the same function of the same variable", () => {
    const calls = (n: number) =>
      `y${n} = StatefulPartitionedCall(x${n}, v) f=scale Tin=float32,resource Tout=float32\n`;
    const scale: FunctionText = {
      ...functionOf(
        "scale",
        `r = ReadVariableOp(v) dtype=float32\nc = Const() dtype=float32 value=float32[]:3
         m = Mul(x, r:value:0) T=float32\ny = AddV2(m:z:0, c:output:0) T=float32`,
      ),
      inputs: "x:float32 v:resource",
    };
    const nodes = `v = VarHandleOp() dtype=float32 shape=[]\n${calls(1)}${calls(2)}`;
    assert.equal(firstOf(nodes, [scale]), "a");
  });

  it("tells apart what differs in an op, an attribute, a constant, an input or a resource", () => {
    assert.equal(firstOf("y1 = Neg(x1) T=float32\ny2 = Neg(x2) T=float32"), "a");
    assert.equal(firstOf("y1 = Neg(x1) T=float32\ny2 = Abs(x2) T=float32"), "b");
    const leaky = (n: number, alpha: string) => `y${n} = LeakyRelu(x${n}) T=float32 alpha=${alpha}\n`;
    assert.equal(firstOf(leaky(1, "0.5") + leaky(2, "0.5")), "a");
    assert.equal(firstOf(leaky(1, "0.5") + leaky(2, "0.25")), "b");
    const scaled = (n: number, by: string) =>
      `c${n} = Const() value=float32[]:${by}\ny${n} = Mul(x${n}, c${n}) T=float32\n`;
    assert.equal(firstOf(scaled(1, "2") + scaled(2, "3")), "b");
    assert.equal(firstOf("y1 = Sub(x1, x1) T=float32\nz = Neg(x2) T=float32\ny2 = Sub(x2, z) T=float32"), "b");
    const read = (
      n: number,
    ) => `v${n} = VarHandleOp() dtype=float32 shape=[]\nr${n} = ReadVariableOp(v${n}) dtype=float32
      y${n} = Mul(x${n}, r${n}) T=float32\n`;
    assert.equal(firstOf(read(1) + read(2)), "b");
  });

  it("tells apart what requests look like", () => {
    const nodes = "y1 = Neg(x1) T=float32\ny2 = Neg(x2) T=float32";
    assert.equal(firstOf(nodes, [], "z=X:0:float32[-1] -> y=Y:0:float32[-1]"), "b");
    assert.equal(firstOf(nodes, [], "x=X:0:float32[7] -> y=Y:0:float32[-1]"), "b");
  });

  it("tells apart two inputs that change places", () => {
    const nodes = `p = Placeholder() dtype=float32 shape=[-1]\nq = Placeholder() dtype=float32 shape=[-1]
      y = Sub(p, q) T=float32\nz = Sub(p, q) T=float32`;
    const signatures = {
      a: "l=p:0:float32[-1] r=q:0:float32[-1] -> y=y:0:float32[-1]",
      b: "l=q:0:float32[-1] r=p:0:float32[-1] -> y=z:0:float32[-1]",
      c: "l=p:0:float32[-1] r=q:0:float32[-1] -> y=z:0:float32[-1]",
    };
    const first = runAtOnce(firstOfEqual(modelOf({ nodes, signatures })));
    assert.deepEqual(Object.fromEntries(first), { a: "a", b: "b", c: "a" });
  });

  it("keeps apart what draws random numbers of its own, however deep", () => {
    const noise = functionOf("noise", NOISE, "y:output:0");
    const calls = (n: number) => `y${n} = StatefulPartitionedCall(x${n}) f=noise Tin=float32 Tout=float32\n`;
    assert.equal(firstOf(calls(1) + calls(2), [noise]), "b");
    const outer = functionOf("outer", "y = StatefulPartitionedCall(x) f=noise Tin=float32 Tout=float32", "y:output:0");
    const plain = functionOf("plain", "y = Neg(x) T=float32", "y:y:0");
    const choose = (branch: string): FunctionText => ({
      ...functionOf(
        "choose",
        `y = If(b, x) then_branch=${branch} else_branch=plain Tcond=bool Tin=float32 Tout=float32`,
        "y:output:0",
      ),
      inputs: "x:float32 b:bool",
    });
    const chosen = (n: number) => `b${n} = Placeholder() dtype=bool shape=[]
      y${n} = StatefulPartitionedCall(x${n}, b${n}) f=choose Tin=float32,bool Tout=float32\n`;
    assert.equal(firstOf(chosen(1) + chosen(2), [choose("plain"), plain]), "a");
    assert.equal(firstOf(chosen(1) + chosen(2), [choose("outer"), noise, outer, plain]), "b");
  });
});
