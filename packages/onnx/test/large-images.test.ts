import assert from "node:assert/strict";
import { Attrs, refKey } from "@shardserve/graph";
import { tensor } from "@shardserve/tensor";
import { agrees } from "../src/lower/images/image-coordinates.js";
import { answer, build, type GoldenCase } from "./golden-cases.js";

/** TensorFlow's own sums, for half-pixel centres. */
function expected(
  images: readonly number[],
  [count, height, width, channels]: Shape,
  [toHeight, toWidth]: Size,
): Float32Array {
  const single = Math.fround;
  const samples = (from: number, to: number) =>
    Array.from({ length: to }, (_, i) => {
      const position = single(single((i + 0.5) * single(from / to)) - 0.5);
      const low = Math.floor(position);
      return { low: Math.max(low, 0), high: Math.min(low + 1, from - 1), weight: position - low };
    });
  const [rows, columns] = [samples(height, toHeight), samples(width, toWidth)];
  const result = new Float32Array(count * toHeight * toWidth * channels);
  let at = 0;
  for (let image = 0; image < count; image++) {
    for (const row of rows) {
      for (const column of columns) {
        for (let channel = 0; channel < channels; channel++) {
          const pixel = (y: number, x: number) => images[((image * height + y) * width + x) * channels + channel]!;
          const along = (y: number) =>
            pixel(y, column.low) + (pixel(y, column.high) - pixel(y, column.low)) * column.weight;
          result[at++] = along(row.low) + (along(row.high) - along(row.low)) * row.weight;
        }
      }
    }
  }
  return result;
}

type Shape = readonly [count: number, height: number, width: number, channels: number];
type Size = readonly [height: number, width: number];

describe("bilinear samples of large images", () => {
  const base64 = (data: Uint8Array | Float32Array | Int32Array): string =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
  const size: Size = [97, 150];

  for (const [name, channels, isBytes] of [
    ["a few channels", 3, false],
    ["bytes", 3, true],
    ["many channels", 33, false],
  ] as const) {
    it(`are TensorFlow's of ${name}, whatever the number of images`, async () => {
      assert.ok(!agrees("half_pixel", 66, size[0]), "a ratio that ONNX's Resize rounds otherwise");
      for (const count of [0, 1, 3]) {
        const shape: Shape = [count, 66, 101, channels];
        const pixels = Array.from({ length: count * 66 * 101 * channels }, (_, i) => (i * 7919) % 251);
        const images = isBytes ? Uint8Array.from(pixels) : Float32Array.from(pixels);
        const item: GoldenCase = {
          op: "ResizeBilinear",
          attrs: { align_corners: false, half_pixel_centers: true, T: isBytes ? 4 : 1 },
          in: [
            { d: isBytes ? 4 : 1, s: [...shape], b: base64(images) },
            { d: 3, s: [2], b: base64(Int32Array.from(size)), c: 1 },
          ],
          out: [{ d: 1, s: [count, ...size, channels], b: "" }],
        };
        for (const known of ["static shapes", "ranks only"] as const) {
          const { step, infos, fed } = build(item, known);
          const [result] = await answer(step, infos, fed);
          assert.deepEqual(result!.shape, [count, ...size, channels]);
          const wanted = expected(pixels, shape, size);
          const off = (result!.data as Float32Array).findIndex((value, i) => Math.abs(value - wanted[i]!) > 251e-6);
          assert.equal(off, -1, `image ${off} of ${known}`);
        }
      }
    });
  }
});

describe("coordinates of samples", () => {
  it("are ONNX Runtime's where no ratio is rounded, or the rounding is too small to see", () => {
    assert.ok(agrees("half_pixel", 28, 56));
    assert.ok(agrees("half_pixel", 50, 80));
    assert.ok(agrees("align_corners", 33, 129));
    assert.ok(agrees("asymmetric", 7, 9));
    assert.ok(!agrees("half_pixel", 180, 224));
    assert.ok(!agrees("align_corners", 200, 301));
  });
});

describe("a resized image of a known size", () => {
  it("can be flattened, though in float64 124 * (32 / 124) of a float32 ratio is less than 32", async () => {
    assert.ok(agrees("half_pixel", 124, 32), "ONNX's Resize takes it");
    const pixels = Float32Array.from({ length: 124 * 129 }, (_, i) => (i * 7919) % 251);
    const item: GoldenCase = {
      op: "ResizeBilinear",
      attrs: { align_corners: false, half_pixel_centers: true, T: 1 },
      in: [
        { d: 1, s: [1, 124, 129, 1], b: Buffer.from(pixels.buffer).toString("base64") },
        { d: 3, s: [2], b: Buffer.from(Int32Array.of(32, 32).buffer).toString("base64"), c: 1 },
      ],
      out: [{ d: 1, s: [1, 32, 32, 1], b: "" }],
    };
    const { step, infos, fed } = build(item, "static shapes");
    const [shape, flat] = [
      { node: "shape", index: 0 },
      { node: "flat", index: 0 },
    ];
    const constant = tensor("int32", [2], Int32Array.of(-1, 1024));
    const nodes = [
      ...step.nodes,
      {
        name: "shape",
        op: "Const",
        inputs: [],
        controls: [],
        attrs: new Attrs("Const", { value: constant, dtype: 3 }),
      },
      {
        name: "flat",
        op: "Reshape",
        inputs: [step.outputs[0]!, shape],
        controls: [],
        attrs: new Attrs("Reshape", { T: 1, Tshape: 3 }),
      },
    ];
    const known = new Map([
      ...infos,
      [refKey(shape), { dtype: "int32", shape: [2] }],
      [refKey(flat), { dtype: "float32", shape: [1, 1024] }],
    ] as const);
    const [result] = await answer({ ...step, nodes, outputs: [flat] }, known, fed);
    assert.deepEqual(result!.shape, [1, 1024]);
  });
});
