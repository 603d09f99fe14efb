import assert from "node:assert/strict";
import { runAtOnce } from "@shardserve/core";
import { infer } from "../src/infer/infer.js";
import { placing } from "../src/plan/place.js";
import { fakeDevice, fakeKernels } from "./fakes.js";
import { programOf } from "./text-graph.js";

/** What a turn of a sampler does: numbers that only the host makes, and arithmetic on them and on its state. */
function turn(shape: string): string {
  return `
  state = Placeholder() dtype=float32 ${shape} fed=true
  text = Placeholder() dtype=string shape=[] fed=true
  noise = StringToNumber(text) out_type=float32
  moved = AddV2(state, noise) T=float32
  energy = Mul(moved, state) T=float32`;
}

const KERNELS = fakeKernels("StringToNumber MatMul Sum SplitV Add");

function placesOf(text: string, isRegion = true): Record<string, string> {
  const program = programOf(text, "energy");
  const { places } = runAtOnce(placing(program, infer(program), KERNELS, fakeDevice("StringToNumber"), { isRegion }));
  return Object.fromEntries([...places].map(([name, { where }]) => [name, where]));
}

describe("a turn of a loop over few numbers", () => {
  it("is the host's as a whole", () => {
    const host = { noise: "host", moved: "host", energy: "host" };
    assert.deepEqual(placesOf(turn("shape=[-1,4]")), host);
    assert.deepEqual(placesOf(turn("shape=[-1,-1]")), host, "lengths that nothing tells");
    assert.deepEqual(placesOf(turn("")), host, "a rank that nothing tells");
  });

  it("is divided where rows are long, or where it is no turn", () => {
    const divided = { noise: "host", moved: "device", energy: "device" };
    assert.deepEqual(placesOf(turn("shape=[-1,17]")), divided);
    assert.deepEqual(placesOf(turn("shape=[-1,4]"), false), divided);
  });

  it("is divided where there are many rows", () => {
    const divided = { noise: "host", moved: "device", energy: "device" };
    assert.deepEqual(placesOf(turn("shape=[1000000]")), divided);
    assert.deepEqual(placesOf(turn("shape=[100000,4]")), divided);
    assert.deepEqual(placesOf(turn("shape=[1000,4]")), { noise: "host", moved: "host", energy: "host" });
  });

  it("is divided where a large value is fed, or is not the first that a node makes", () => {
    const sum = turn("shape=[1000000]").replace("AddV2(state, noise)", "Sum(state, axis)");
    const summed = `${sum.replace("Mul(moved, state)", "Mul(moved, noise)")}\n  axis = Const() dtype=int32 value=int32[1]:0`;
    assert.deepEqual(placesOf(summed), { noise: "host", moved: "device", energy: "device" });
    const moments = turn("shape=[4]").replace("Mul(moved, state)", "Add(moved, parts:1)");
    const parts = `
  where = Const() dtype=int32 value=int32[]:0
  sizes = Const() dtype=int32 value=int32[2]:4,1000000
  all = Variable() dtype=float32 shape=[1000004]
  parts = SplitV(all, sizes, where) T=float32 num_split=2 Tlen=int32`;
    assert.equal(placesOf(moments + parts).moved, "device");
  });

  it("is divided where it has arithmetic that devices are for", () => {
    const text = turn("shape=[4,4]").replace("Mul(moved, state)", "MatMul(moved, state)");
    assert.deepEqual(placesOf(text), { noise: "host", moved: "device", energy: "device" });
  });
});
