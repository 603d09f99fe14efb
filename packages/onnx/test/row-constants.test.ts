import assert from "node:assert/strict";
import { lowerSegment } from "../src/segment.js";
import { constantBytes, KERNELS } from "@shardserve/onnx";
import { answer, build, type GoldenCase } from "./golden-cases.js";

const base64 = (data: readonly number[]): string => Buffer.from(Float32Array.from(data).buffer).toString("base64");

/** Images less a constant of a number a channel. */
function shifted(image: readonly number[], channels: readonly number[]): { item: GoldenCase; pixels: number[] } {
  const count = image.reduce((product, length) => product * length, 1);
  const pixels = Array.from({ length: count }, (_, i) => Math.fround(i * 0.37 - 5));
  const item: GoldenCase = {
    op: "Sub",
    attrs: { T: 1 },
    in: [
      { d: 1, s: [...image], b: base64(pixels) },
      { d: 1, s: [...channels], b: base64(Array.from({ length: channels.at(-1)! }, (_, i) => i + 0.5)), c: 1 },
    ],
    out: [{ d: 1, s: [...image], b: "" }],
  };
  return { item, pixels };
}

describe("constants of a number a channel", () => {
  const images: [number[], number[]][] = [
    [[2, 5, 32, 3], [3]],
    [
      [2, 5, 32, 3],
      [1, 1, 1, 3],
    ],
    [[3, 40, 4], [4]],
    [[2, 0, 32, 3], [3]],
    [[2, 2, 2, 3], [3]],
  ];
  for (const [image, channels] of images) {
    it(`[${channels.join()}] against [${image.join()}]`, async () => {
      const { item, pixels } = shifted(image, channels);
      const expected = Float32Array.from(pixels, (pixel, i) => pixel - ((i % channels.at(-1)!) + 0.5));
      for (const knowledge of ["static shapes", "ranks only", "nothing"] as const) {
        const { step, infos, fed } = build(item, knowledge);
        const [result] = await answer(step, infos, fed);
        assert.deepEqual(result!.shape, image, knowledge);
        assert.deepEqual(result!.data, expected, knowledge);
      }
    });
  }

  it("are as wide as a row where the engine broadcasts three at a time slowly, and nowhere else", () => {
    const { step, infos } = build(shifted([2, 5, 224, 3], [3]).item, "static shapes");
    const modelBytes = (kernels: keyof typeof KERNELS): number =>
      lowerSegment(step, infos, KERNELS[kernels]).encode(constantBytes).length;
    const rowBytes = 224 * 3 * Float32Array.BYTES_PER_ELEMENT;
    assert.ok(modelBytes("cpu") > rowBytes);
    assert.ok(modelBytes("cuda") < rowBytes);
  });

  it("are as they were where no image says how wide it is", () => {
    const { step, infos } = build(shifted([3, 40, 4], [4]).item, "ranks only");
    assert.equal(lowerSegment(step, infos).nodeCount, 1);
  });
});
