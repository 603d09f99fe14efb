import assert from "node:assert/strict";
import { fromBinary, MetaGraphDefSchema, toBinary, type MetaGraphDef } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import fc from "fast-check";
import { importModel } from "../src/import/model.js";
import { planSignature } from "../src/plan/plan-signature.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { metaGraphOf } from "./text-graph.js";

const FUZZ_MS = Number(process.env["FUZZ_MS"] ?? 300);

const seed = toBinary(
  MetaGraphDefSchema,
  metaGraphOf({
    nodes: `
      x = Placeholder() dtype=float32 shape=[-1,4]
      v = VarHandleOp() dtype=float32 shape=[10,4] shared_name=v
      call = StatefulPartitionedCall(x, v) f=body Tin=float32,resource Tout=float32
      s = Shape(call) T=float32
      b = Const() value=int32[1]:0 dtype=int32
      e = Const() value=int32[1]:1 dtype=int32
      n = StridedSlice(s, b, e, e) T=int32 Index=int32 shrink_axis_mask=1
      eight = Const() value=int32[]:8 dtype=int32
      p = Pack(n, eight) N=2 T=int32
      r = Reshape(call, p) T=float32
      d = Split(b, r) num_split=2 T=float32
      w = Switch(r, q) T=float32
      q = Const() value=bool[]:1 dtype=bool
      m = Merge(w, w:1) N=2 T=float32
      y = ConcatV2(d, d:1, m, b) N=3 T=float32 Tidx=int32`,
    functions: [
      {
        name: "body",
        inputs: "x:float32 v:resource",
        outputs: "y:float32",
        nodes: `ids = Cast(x) SrcT=float32 DstT=int64
                rows = ResourceGather(v, ids:y:0) dtype=float32 Tindices=int64
                one = AddV2(x, x) T=float32`,
        ret: "y=one:z:0",
        controlRet: "r=rows",
      },
    ],
    signatures: { s: "x=x:float32[-1,4] -> y=y:float32[-1,8] r=call:float32[-1]" },
  }),
);

/** Whatever the bytes say, planning ends in a plan or in a ServingError. */
function plan(bytes: Uint8Array): void {
  let metaGraph: MetaGraphDef;
  try {
    metaGraph = fromBinary(MetaGraphDefSchema, bytes);
  } catch {
    return;
  }
  try {
    const bindings = new Map([["v", { checkpointKey: "v" }]]);
    const model = importModel(metaGraph, { bindings, entries: new Map([["v", { dtype: "float32", shape: [10, 4] }]]) });
    for (const name of model.signatures.keys())
      planSignature(model, name, { kernels: fakeKernels("Cast"), device: fakeDevice() });
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
  }
}

describe("graphs from strangers", function () {
  this.timeout(FUZZ_MS * 4 + 60_000);

  it("the untouched graph plans", () => {
    plan(seed);
    assert.ok(seed.length > 500);
  });

  it("changed bytes give a plan or a ServingError, never a crash or a hang", () => {
    const change = fc.record({ at: fc.nat({ max: seed.length - 1 }), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = seed.slice();
        for (const { at, value } of changes) bytes[at] = value;
        plan(bytes);
      }),
      { numRuns: 1_000_000, interruptAfterTimeLimit: FUZZ_MS, markInterruptAsFailure: false },
    );
  });
});
