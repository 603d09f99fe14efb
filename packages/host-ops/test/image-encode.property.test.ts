import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs, type AttrValue, type HostValue } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

async function run(op: string, input: HostValue, attrs: Record<string, AttrValue>): Promise<Tensor> {
  const node = { name: op, op, inputs: [], controls: [], attrs: new Attrs(op, attrs) };
  return (await hostKernels.get(op)!({ node, inputs: [input], state: newState() }))[0] as Tensor;
}

describe("images to files and back", () => {
  const images = fc.record({
    height: fc.integer({ min: 1, max: 9 }),
    width: fc.integer({ min: 1, max: 9 }),
    channels: fc.integer({ min: 1, max: 4 }),
    isWide: fc.boolean(),
    isSmooth: fc.boolean(),
    seed: fc.nat(),
    compression: fc.integer({ min: -1, max: 9 }),
  });

  it("PNG files hold the pixels that went in", async () => {
    await fc.assert(
      fc.asyncProperty(images, async ({ height, width, channels, isWide, isSmooth, seed, compression }) => {
        const count = height * width * channels;
        const value = (i: number): number => (isSmooth ? i + seed : Math.imul(i + seed, 2654435761) >>> 13);
        const dtype = isWide ? "uint16" : "uint8";
        const data = isWide
          ? Uint16Array.from({ length: count }, (_, i) => value(i))
          : Uint8Array.from({ length: count }, (_, i) => value(i));
        const image = tensor(dtype, [height, width, channels], data as never);
        const file = await run("EncodePng", image, { compression });
        const back = await run("DecodePng", file, { channels: 0, dtype });
        assert.deepEqual([back.shape, back.data], [image.shape, image.data]);
      }),
    );
  });

  it("a progressive or optimised JPEG is asked for in vain, not in error", async () => {
    const image = tensor(
      "uint8",
      [9, 11, 3],
      Uint8Array.from({ length: 297 }, (_, i) => (i * 7) & 255),
    );
    const plain = await run("EncodeJpeg", image, {});
    assert.deepEqual(await run("EncodeJpeg", image, { progressive: true, optimize_size: true }), plain);
  });
});
