import assert from "node:assert/strict";
import { formBranches } from "../src/passes/control/conditionals.js";
import { formLoops } from "../src/passes/control/frames.js";
import { infer } from "../src/infer/infer.js";
import { importModel } from "../src/import/model.js";
import { planSignature } from "../src/plan/plan-signature.js";
import { formatPlan } from "../src/plan/report.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { metaGraphOf, type ModelText, programOf, textOf } from "./text-graph.js";

function planOf(text: ModelText, shapes: Record<string, number[]> = {}): string {
  const bindings = new Map(Object.keys(shapes).map((key) => [key, { checkpointKey: key }]));
  const entries = new Map(Object.entries(shapes).map(([key, shape]) => [key, { dtype: "float32" as const, shape }]));
  const model = importModel(metaGraphOf(text), { bindings, entries });
  return formatPlan(planSignature(model, "s", { kernels: fakeKernels("Less Identity"), device: fakeDevice() }));
}

describe("formLoops", () => {
  const LOOP = `
    x = Placeholder() dtype=float32
    k = Placeholder() dtype=float32
    enter = Enter(x) T=float32 frame_name=w
    limit = Enter(k) T=float32 frame_name=w is_constant=true
    merge = Merge(enter, next) T=float32 N=2
    less = Less(merge, limit) T=float32
    cond = LoopCond(less)
    switch = Switch(merge, cond) T=float32
    body = Identity(switch:1) T=float32
    one = Const(^body) value=float32[]:1
    step = AddV2(body, one) T=float32
    next = NextIteration(step) T=float32
    exit = Exit(switch) T=float32
    y = Neg(exit) T=float32`;

  it("turns the frame of a TF1 loop into a Loop with a condition and a body", () => {
    const program = formLoops(programOf(LOOP, "y"));
    assert.deepEqual(textOf(program), [
      "k = Placeholder()",
      "w/loop = Loop(x, k)",
      "x = Placeholder()",
      "y = Neg(w/loop)",
    ]);
    const [condition, body] = program.graph.get("w/loop")!.regions!;
    assert.deepEqual(condition!.outputs, [{ node: "less", index: 0 }]);
    assert.deepEqual(condition!.graph.get("less")!.inputs, [
      { node: "w/loop/cond/arg_0", index: 0 },
      { node: "w/loop/cond/arg_1", index: 0 },
    ]);
    // The limit never changes: it is no variable of the loop.
    assert.deepEqual(body!.outputs, [{ node: "step", index: 0 }]);
    assert.equal(program.graph.get("w/loop")!.attrs.int("carried"), 1);
  });

  it("refuses a frame without a condition", () => {
    const text = `x = Placeholder() dtype=float32\ne = Enter(x) T=float32 frame_name=w\ny = Exit(e) T=float32`;
    assert.throws(() => formLoops(programOf(text, "y")), /no condition that this compiler understands/);
  });
});

describe("formBranches", () => {
  it("turns nested Switch and Merge into Branches, the inner one inside the outer", () => {
    const program = programOf(
      `x = Placeholder() dtype=float32
       p = Placeholder() dtype=bool
       q = Placeholder() dtype=bool
       on = Switch(x, p) T=float32
       inner = Switch(on:1, qs:1) T=float32
       qs = Switch(q, p) T=bool
       a = Neg(inner:1) T=float32
       b = Exp(inner) T=float32
       m = Merge(b, a) T=float32 N=2
       c = Abs(on) T=float32
       y = Merge(c, m) T=float32 N=2`,
      "y",
    );
    const formed = formBranches(program, infer(program));
    const outer = formed.graph.get("y/branch")!;
    assert.deepEqual(textOf(formed).at(-1), "y/branch = Branch(p, x, q)");
    const [no, yes] = outer.regions!;
    assert.deepEqual(no!.outputs[0], { node: "c", index: 0 });
    assert.equal(yes!.outputs[0]!.node, "m/branch");
    assert.equal(yes!.graph.get("m/branch")!.op, "Branch");
  });
});

describe("control flow of functions", () => {
  const loop = (body: string) => ({
    nodes: `
      x = Placeholder() dtype=float32 shape=[1]
      w = VarHandleOp() dtype=float32 shape=[1]
      y = While(x, w) cond=c body=b T=float32,resource`,
    functions: [
      {
        name: "c",
        inputs: "x:float32 w:resource",
        outputs: "r:bool",
        nodes: "n = Less(x, x) T=float32",
        ret: "r=n:z:0",
      },
      {
        name: "b",
        inputs: "x:float32 w:resource",
        outputs: "y:float32 v:resource",
        nodes: body,
        ret: "y=n:z:0 v=i:output:0",
      },
    ],
    signatures: { s: "x=x:float32[1] -> y=y:float32[-1]" },
  });
  const HANDED_ON = "i = Identity(w) T=resource";

  it("gives the body its own frozen variables, and carries only what changes", () => {
    const text = planOf(loop(`${HANDED_ON}\nr = ReadVariableOp(w) dtype=float32\nn = AddV2(x, r:value:0) T=float32`), {
      w: [1],
    });
    assert.match(text, /y\/loop = Loop\(x\) float32\[1\]/);
    assert.match(text, /n = AddV2\(y\/body\/arg_0, w\) float32\[1\]/);
  });

  it("widens the shape of a variable that grows", () => {
    const body = `${HANDED_ON}\naxis = Const() value=int32[]:0\nn0 = ConcatV2(x, x, axis:output:0) T=float32 N=2 Tidx=int32\nn = Neg(n0:output:0) T=float32`;
    const text = planOf(replaceRet(loop(body)), { w: [1] });
    assert.match(text, /y\/loop = Loop\(x\) float32\[\?\]/);
  });

  function replaceRet(model: ReturnType<typeof loop>): ModelText {
    return { ...model, functions: model.functions.map((f) => ({ ...f, ret: f.ret.replace("y=n:z:0", "y=n:y:0") })) };
  }

  it("refuses recursion within bounded time", () => {
    const nodes = `
      x = Placeholder() dtype=float32 shape=[1]
      c = Placeholder() dtype=bool shape=[]
      y = If(c, c, x) then_branch=f else_branch=f Tcond=bool Tin=bool,float32 Tout=float32`;
    const inner = "n = If(c, c, x) then_branch=f else_branch=f Tcond=bool Tin=bool,float32 Tout=float32";
    const f = { name: "f", inputs: "c:bool x:float32", outputs: "y:float32", nodes: inner, ret: "y=n:output:0" };
    const signatures = { s: "x=x:float32[1] c=c:bool[] -> y=y:float32[1]" };
    assert.throws(() => planOf({ nodes, functions: [f], signatures }), /nested deeper than 64: endless recursion/);
  });
});
