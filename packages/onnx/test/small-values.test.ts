import assert from "node:assert/strict";
import { Attrs, type DeviceStep, type GraphNode, infer } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { answer } from "./golden-cases.js";

/** The logarithm of what `op` gives. */
async function logOf(op: string, x: Tensor, attrs = {}): Promise<number[]> {
  const made = (name: string, of: string, inputs: string[], own: object): GraphNode => {
    const refs = inputs.map((input) => ({ node: input, index: 0 }));
    return { name, op: of, inputs: refs, controls: [], attrs: new Attrs(of, { T: "float32", ...own }) };
  };
  const fed = { dtype: "float32", shape: x.shape, fed: true };
  const nodes = [made("x", "Placeholder", [], fed), made("y", op, ["x"], attrs), made("z", "Log", ["y"], {})];
  const outputs = [{ node: "z", index: 0 }];
  const { infos } = infer({ graph: new Map(nodes.map((node) => [node.name, node])), outputs, targets: [] });
  const inputs = [{ node: "x", index: 0 }];
  const step: DeviceStep = { kind: "device", id: "test", nodes: nodes.slice(1), inputs, outputs, variables: new Map() };
  const [result] = await answer(step, infos, [x]);
  return [...(result!.data as Float32Array)];
}

/** Of more elements than one vector of the machine holds, too. */
function repeated(values: readonly number[], times: number): number[] {
  return Array.from({ length: times }, () => values).flat();
}

/** What TensorFlow 2.21 answers: tf.math.log(tf.raw_ops.Sigmoid(x=x)), and of tf.nn.softmax. */
const LOGISTIC = new Map([
  [-5, -5.0067153],
  [-17, -17],
  [-20, -20],
  [-50, -50],
  [-87, -87],
  [-100, -Infinity],
  [20, 0],
  [100, 0],
  [Infinity, 0],
  [-Infinity, -Infinity],
  [NaN, NaN],
]);

function assertNear(actual: readonly number[], expected: readonly number[]): void {
  const isNear = (value: number, i: number): boolean =>
    Object.is(value, expected[i]) || Math.abs(value - expected[i]!) <= 1e-5 * Math.max(1, Math.abs(expected[i]!));
  assert.ok(actual.length === expected.length && actual.every(isNear), `${actual.join()} for ${expected.join()}`);
}

describe("logarithms of small values", () => {
  for (const times of [1, 5]) {
    it(`of a logistic function that is marked, ${times} times`, async () => {
      const x = repeated([...LOGISTIC.keys()], times);
      const result = await logOf("Sigmoid", tensor("float32", [x.length], Float32Array.from(x)), { exact: true });
      assertNear(result, repeated([...LOGISTIC.values()], times));
    });

    it(`of a softmax, ${times} times`, async () => {
      const x = Float32Array.from(repeated([0, -20, -50, -80], times));
      assertNear(await logOf("Softmax", tensor("float32", [times, 4], x)), repeated([0, -20, -50, -80], times));
    });
  }
});
