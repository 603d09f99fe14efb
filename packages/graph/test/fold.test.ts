import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { toNumbers } from "@shardserve/tensor";
import type { KernelTable } from "../src/ir/host.js";
import { fold } from "../src/passes/rewrites/fold.js";
import { infer } from "../src/infer/infer.js";
import { type Program, prune } from "../src/ir/program.js";
import { settleReshapes } from "../src/passes/rewrites/reshapes.js";
import { simplify } from "../src/passes/rewrites/simplify.js";
import { fakeKernels } from "./fakes.js";
import { programOf, textOf } from "./text-graph.js";

const folded = (program: Program, kernels: KernelTable = fakeKernels()): Program =>
  runAtOnce(fold(program, infer(program), kernels));

function valueOf(program: Program, name: string): number[] {
  return toNumbers(program.graph.get(name)!.attrs.tensor("value"));
}

describe("fold", () => {
  it("computes chains of constants with the host's kernels", () => {
    const program = programOf(
      "a = Const() value=float32[2]:1,2\nb = Const() value=float32[]:3\nc = AddV2(a, b) T=float32\nd = Mul(c, b) T=float32",
      "d",
    );
    const result = folded(program);
    assert.deepEqual(textOf(result), ["d = Const()"]);
    assert.deepEqual(valueOf(result, "d"), [12, 15]);
  });

  it("knows shapes without any kernel", () => {
    const program = programOf(
      `x = Placeholder() dtype=float32 shape=[-1,4,8]
       s = Shape(x) T=float32
       b = Const() value=int32[1]:1
       e = Const() value=int32[1]:3
       one = Const() value=int32[1]:1
       tail = StridedSlice(s, b, e, one) T=int32 Index=int32
       zero = Const() value=int32[]:0
       n = Prod(tail, zero) T=int32`,
      "n s",
    );
    const result = folded(program);
    assert.deepEqual(valueOf(result, "n"), [32]);
    assert.equal(result.graph.get("s")!.op, "Shape");
  });

  it("keeps random numbers, effects, what waits for effects, and what no kernel takes", () => {
    const program = programOf(
      `s = Const() value=int32[1]:2
       r = RandomUniform(s) T=int32 dtype=float32
       a = Const() value=float32[]:1
       ok = Const() value=bool[]:0
       check = Assert(ok)
       w = Neg(a, ^check) T=float32
       u = Exp(a) T=float32`,
      "r w u",
    );
    const result = folded(program);
    assert.deepEqual(
      ["r", "w", "u"].map((name) => result.graph.get(name)!.op),
      ["RandomUniform", "Neg", "Exp"],
    );
  });

  it("leaves a failing kernel to the request", () => {
    const kernels = fakeKernels("Exp");
    const program = programOf("a = Const() value=float32[]:1\nu = Exp(a) T=float32", "u");
    assert.equal(folded(program, kernels), program);
  });

  it("does not make huge constants", () => {
    const calls = new Map<string, number>();
    const program = programOf(
      "dims = Const() value=int32[2]:4096,4096\nv = Const() value=float32[]:0\nf = Fill(dims, v) T=float32\ny = Neg(f) T=float32",
      "y",
    );
    assert.equal(folded(program, fakeKernels("Fill", calls)), program);
    assert.equal(calls.size, 0);
  });

  it("folds one of several outputs", () => {
    const program = programOf(
      "x = Placeholder() dtype=float32 shape=[2]\ny = Placeholder() dtype=float32 shape=[-1]\ns = ShapeN(x, y) N=2 T=float32\na = Neg(s) T=int32\nb = Neg(s:1) T=int32",
      "s:0 s:1",
    );
    const result = folded(prune(program));
    assert.equal(result.graph.get("s")?.op, "ShapeN");
  });
});

describe("simplify", () => {
  const simplified = (text: string, outputs: string) => {
    const program = programOf(text, outputs);
    return runAtOnce(simplify(program, infer(program)));
  };

  it("drops Identity and its kin, casts to the same dtype and shape checks that hold", () => {
    const text = `x = Placeholder() dtype=float32 shape=[-1,3]
      a = Identity(x) T=float32
      b = StopGradient(a) T=float32
      c = Cast(b) SrcT=float32 DstT=float32
      d = EnsureShape(c) T=float32 shape=[-1,3]
      n = IdentityN(d, x)
      y = Neg(n) T=float32`;
    let program = programOf(text, "y n:1");
    for (let i = 0; i < 3; i++) program = runAtOnce(simplify(program, infer(program)));
    assert.deepEqual(textOf(program), ["x = Placeholder()", "y = Neg(x)"]);
    assert.deepEqual(program.outputs[1], { node: "x", index: 0 });
  });

  it("keeps checks that may fail and nodes that wait for an effect", () => {
    const text = `x = Placeholder() dtype=float32 shape=[-1,-1]
      ok = Placeholder() dtype=bool shape=[]
      check = Assert(ok)
      a = EnsureShape(x) T=float32 shape=[-1,3]
      b = CheckNumerics(a) T=float32 message=no
      c = Identity(b, ^check) T=float32`;
    assert.equal(textOf(simplified(text, "c")).length, 6);
  });
});

describe("settleReshapes", () => {
  it("replaces the one dimension that depends on the request by -1", () => {
    const text = `x = Placeholder() dtype=float32 shape=[-1,-1,8]
      s = Shape(x) T=float32
      axes = Const() value=int32[2]:0,1
      zero = Const() value=int32[]:0
      free = GatherV2(s, axes, zero) Tparams=int32 Tindices=int32 Taxis=int32
      n = Prod(free, zero) T=int32
      eight = Const() value=int32[]:8
      shape = Pack(n, eight) N=2 T=int32
      y = Reshape(x, shape) T=float32`;
    const program = programOf(text, "y");
    const result = runAtOnce(settleReshapes(program, infer(program)));
    assert.deepEqual(textOf(result), ["x = Placeholder()", "y = Reshape(x, y/settled)", "y/settled = Const()"]);
    assert.deepEqual(valueOf(result, "y/settled"), [-1, 8]);
  });

  it("leaves shapes with two open or a zero dimension", () => {
    const text = `x = Placeholder() dtype=float32 shape=[-1,-1]
      s = Shape(x) T=float32
      y = Reshape(x, s) T=float32
      b = Placeholder() dtype=int32 shape=[]
      zero = Const() value=int32[]:0
      t = Pack(b, zero) N=2 T=int32
      z = Reshape(x, t) T=float32`;
    const program = programOf(text, "y z");
    assert.equal(runAtOnce(settleReshapes(program, infer(program))), program);
  });
});
