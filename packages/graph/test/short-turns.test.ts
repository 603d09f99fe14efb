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

const KERNELS = fakeKernels("StringToNumber MatMul");

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
  });

  it("is divided where rows are long, or where it is no turn", () => {
    const divided = { noise: "host", moved: "device", energy: "device" };
    assert.deepEqual(placesOf(turn("shape=[-1,17]")), divided);
    assert.deepEqual(placesOf(turn("shape=[-1,4]"), false), divided);
  });

  it("is divided where it has arithmetic that devices are for", () => {
    const text = turn("shape=[4,4]").replace("Mul(moved, state)", "MatMul(moved, state)");
    assert.deepEqual(placesOf(text), { noise: "host", moved: "device", energy: "device" });
  });
});
