import assert from "node:assert/strict";
import { Attrs, type DeviceStep, refKey, type ValueInfo } from "@shardserve/graph";
import { loadOrt } from "@shardserve/native";
import { constantBytes, lowerSegment } from "@shardserve/onnx";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";

/** A step of one Pack along `axis` of inputs of these shapes, -1 = unknown. */
function packStep(shapes: readonly (readonly number[] | undefined)[], axis: number) {
  const infos = new Map<string, ValueInfo>();
  const inputs = shapes.map((shape, i) => {
    const ref = { node: `in${i}`, index: 0 };
    infos.set(refKey(ref), { dtype: "float32", shape });
    return ref;
  });
  const node = { name: "node", op: "Pack", inputs, controls: [], attrs: new Attrs("Pack", { axis, N: shapes.length }) };
  const output = { node: "node", index: 0 };
  infos.set(refKey(output), { dtype: "float32", shape: undefined });
  const step: DeviceStep = {
    kind: "device",
    id: "step",
    nodes: [node],
    inputs,
    outputs: [output],
    variables: new Map(),
  };
  return lowerSegment(step, infos);
}

async function packed(shapes: readonly (readonly number[] | undefined)[], axis: number, fed: readonly Tensor[]) {
  using session = await loadOrt().createSession(packStep(shapes, axis).encode(constantBytes));
  return session.runOnTensors(fed)[0]!;
}

/** What TensorFlow answers: element [.., i, ..] is that of input i. */
function expected(fed: readonly Tensor[], axis: number): { shape: number[]; data: number[] } {
  const [{ shape }] = fed as [Tensor];
  const outer = elementCount(shape.slice(0, axis));
  const run = elementCount(shape.slice(axis));
  const data: number[] = [];
  for (let o = 0; o < outer; o++)
    for (const { data: from } of fed) data.push(...(from as Float32Array).subarray(o * run, (o + 1) * run));
  return { shape: [...shape.slice(0, axis), fed.length, ...shape.slice(axis)], data };
}

const numbered = (shape: readonly number[], first: number): Tensor =>
  tensor(
    "float32",
    shape,
    Float32Array.from({ length: elementCount(shape) }, (_, i) => first + i),
  );

describe("Pack", () => {
  const known: Record<string, [shape: number[], axis: number]> = {
    "rows of a free batch": [[-1, 3], 1],
    "axis from the end": [[-1, 3], -2],
    "matrices of a free batch": [[-1, -1, 2, 3], 2],
    "a new first dimension": [[2, 3], 0],
    vectors: [[4], 0],
  };
  for (const [name, [shape, axis]] of Object.entries(known)) {
    it(`takes two nodes where lengths are known: ${name}`, async () => {
      const shapes = [shape, shape, shape];
      assert.equal(packStep(shapes, axis).nodeCount, 2);
      for (const batch of [2, 1, 0]) {
        const run = shape.map((length) => (length === -1 ? batch : length));
        const fed = shapes.map((_, i) => numbered(run, 100 * i));
        const { shape: actual, data } = await packed(shapes, axis, fed);
        const wanted = expected(fed, axis < 0 ? axis + shape.length + 1 : axis);
        assert.deepEqual([...actual], wanted.shape);
        assert.deepEqual([...(data as Float32Array)], wanted.data);
      }
    });
  }

  const unknown: Record<string, [shapes: (number[] | undefined)[], axis: number, run: number[]]> = {
    "no rank": [[undefined, [-1, 3]], 1, [2, 3]],
    "an unknown length": [
      [
        [2, -1],
        [2, 3],
      ],
      1,
      [2, 3],
    ],
    "nothing in a row": [
      [
        [-1, 0],
        [-1, 0],
      ],
      1,
      [2, 0],
    ],
    scalars: [[[], []], 0, []],
    "a new last dimension": [
      [
        [-1, 3],
        [-1, 3],
      ],
      2,
      [2, 3],
    ],
  };
  for (const [name, [shapes, axis, run]] of Object.entries(unknown)) {
    it(`is right where they are not: ${name}`, async () => {
      const fed = shapes.map((_, i) => numbered(run, 100 * i));
      const { shape, data } = await packed(shapes, axis, fed);
      const wanted = expected(fed, axis);
      assert.deepEqual([...shape], wanted.shape);
      assert.deepEqual([...(data as Float32Array)], wanted.data);
    });
  }

  it("never takes one length for another", async () => {
    const shapes = [
      [-1, 2],
      [-1, 4],
    ]; // together as long as two of 3
    await assert.rejects(packed(shapes, 1, [numbered([1, 2], 0), numbered([1, 4], 0)]));
  });
});
