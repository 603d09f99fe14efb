import { readdirSync } from "node:fs";
import assert from "node:assert/strict";
import type { Tensor } from "@shardserve/tensor";
import { Attrs, type HostState, type HostValue, type KernelCall } from "@shardserve/graph";
import { hostKernels } from "../src/index.js";
import { opGoldenAttr, opGoldenTensor } from "@shardserve/testkit";
import { assertError, assertTensor, type GoldenCase, readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

/** Float results within a few units in the last place: TensorFlow's vector code orders sums and rounds exp otherwise. */
const TOLERANCE = 2e-6;

const families = readdirSync(new URL("../../test/goldens/", import.meta.url))
  .filter((name) => name.startsWith("golden-") && name.endsWith(".json"))
  .map((name) => name.slice("golden-".length, -".json".length));

describe("kernels give TensorFlow's answers", () => {
  for (const family of families) {
    const byOp = new Map<string, GoldenCase[]>();
    for (const golden of readGoldens(family)) {
      const cases = byOp.get(golden.op) ?? [];
      byOp.set(golden.op, cases);
      cases.push(golden);
    }
    describe(family, () => {
      for (const [op, cases] of byOp) {
        it(`${op} (${cases.length} cases)`, async () => {
          const failures: string[] = [];
          for (const [i, golden] of cases.entries()) {
            try {
              if (golden.steps) await replayProgram(golden.steps, golden.files ?? [], op);
              else await replay(golden, `${op} case ${i}`);
            } catch (error) {
              failures.push(`${(error as Error).message}\n      ${JSON.stringify(golden).slice(0, 900)}`);
            }
          }
          assert(
            failures.length === 0,
            `${failures.length} of ${cases.length} cases differ:\n    ${failures.join("\n    ")}`,
          );
        });
      }
    });
  }
});

/** Runs steps on one state; a step may take the handle that an earlier one made. */
async function replayProgram(steps: readonly GoldenCase[], files: readonly string[], where: string): Promise<void> {
  const state: HostState = {
    ...newState(),
    readFile: async (path) => Buffer.from(files[Number(path.slice(1))]!, "latin1"),
  };
  const results: (readonly HostValue[])[] = [];
  for (const [i, step] of steps.entries()) {
    results.push(await replay(step, `${where}, step ${i} ${step.op}`, state, results));
  }
}

async function replay(
  golden: GoldenCase,
  where: string,
  state = newState(),
  earlier: readonly (readonly HostValue[])[] = [],
): Promise<readonly HostValue[]> {
  const kernel = hostKernels.get(golden.op);
  assert(kernel, `${golden.op} has no kernel`);
  let outputs: readonly HostValue[];
  try {
    outputs = await kernel(callOf(golden, state, earlier));
  } catch (error) {
    if (golden.error === undefined) throw error;
    assertError(error, golden, where);
    return [];
  }
  assert(golden.error === undefined, `${where}: TensorFlow refuses this with ${golden.error}`);
  if (golden.outputs === undefined) return outputs; // a handle
  assert.equal(outputs.length, golden.outputs.length, `${where}: number of outputs`);
  golden.outputs.forEach((expected, k) => {
    if (golden.only && !golden.only.includes(k)) return assert.deepEqual((outputs[k] as Tensor).shape, expected.s);
    assertTensor(
      outputs[k] as Tensor,
      expected,
      golden.tolerance ?? TOLERANCE,
      `${where}, output ${k}`,
      /FFT|Mfcc|Spectrogram|^Adjust|RGB|CrossEntropy|Matri|Lu$|Cholesky|Qr|Svd|SelfAdjoint|LSTM|GRU|MatMul|Einsum|AvgPool$|CTCLoss|Grad$|GradV\d$/.test(
        golden.op,
      ),
    );
  });
  return outputs;
}

function callOf(golden: GoldenCase, state: HostState, earlier: readonly (readonly HostValue[])[]): KernelCall {
  const attrs = Object.fromEntries(Object.entries(golden.attrs).map(([name, json]) => [name, opGoldenAttr(json)]));
  return {
    node: {
      name: golden.name ?? "node",
      op: golden.op,
      inputs: golden.inputs.map((_, index) => ({ node: "input", index })),
      controls: [],
      attrs: new Attrs(golden.op, attrs),
    },
    inputs: golden.inputs.map((input) => ("step" in input ? earlier[input.step]![0]! : opGoldenTensor(input))),
    state,
  };
}
