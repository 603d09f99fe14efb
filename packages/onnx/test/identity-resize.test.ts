import assert from "node:assert/strict";
import { lowerSegment } from "../src/segment.js";
import { answer, build, type GoldenCase } from "./golden-cases.js";

describe("resizing to the size that an image has", () => {
  const pixels = Float32Array.from({ length: 12 }, (_, i) => i * 0.7 - 3);
  pixels[5] = Number.POSITIVE_INFINITY;
  const base64 = (data: Float32Array | Int32Array): string => Buffer.from(data.buffer).toString("base64");
  const resize = (op: string, size: readonly number[], half: boolean): GoldenCase => ({
    op,
    attrs: { align_corners: false, half_pixel_centers: half, T: 1 },
    in: [
      { d: 1, s: [2, 2, 3, 1], b: base64(pixels) },
      { d: 3, s: [2], b: base64(Int32Array.from(size)), c: 1 },
    ],
    out: [{ d: 1, s: [2, ...size, 1], b: "" }],
  });

  for (const op of ["ResizeBilinear", "ResizeNearestNeighbor"]) {
    it(`${op} leaves it as it is, infinities included`, async () => {
      for (const half of [false, true]) {
        const { step, infos, fed } = build(resize(op, [2, 3], half), "static shapes");
        assert.equal(lowerSegment(step, infos).nodeCount, 1, "the output's own Identity");
        const [result] = await answer(step, infos, fed);
        assert.deepEqual(result!.data, pixels);
      }
    });

    it(`${op} works where the size is another or the image's is unknown`, async () => {
      const other = build(resize(op, [3, 2], false), "static shapes");
      const [result] = await answer(other.step, other.infos, other.fed);
      assert.deepEqual(result!.shape, [2, 3, 2, 1]);
      const unknown = build(resize(op, [2, 3], false), "ranks only");
      assert.ok(lowerSegment(unknown.step, unknown.infos).nodeCount > 1);
    });
  }
});
