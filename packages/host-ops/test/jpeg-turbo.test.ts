import assert from "node:assert/strict";
import { seededRandom, ServingError } from "@shardserve/core";
import { Attrs } from "@shardserve/graph";
import { type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { opGoldenTensor, type OpGoldenTensor } from "@shardserve/testkit";
import { decodeJpeg, type JpegOptions } from "../src/image-files/jpeg.js";
import { readJpegHead } from "../src/image-files/jpeg-head.js";
import { decodeByTurbo, decodeJpegFile, loadTurbo } from "../src/image-files/jpeg-turbo.js";
import { hostKernels } from "../src/index.js";
import { readGoldens } from "./golden.js";
import { newState } from "./host-state.js";

const CHANNELS = [0, 1, 3] as const;

describe("JPEG by libjpeg-turbo", () => {
  it("gives the pixels that our own decoder gives", async function () {
    const turbo = await loadTurbo();
    if (!turbo) {
      console.log("      SKIPPED: the optional package @julusian/jpeg-turbo is not installed");
      this.skip();
    }
    let taken = 0;
    for (const file of [...goldenFiles(), ...(await encodedFiles())]) {
      for (const channels of CHANNELS) {
        const options: JpegOptions = { channels, isFancy: true, isAccurate: false, ratio: 1 };
        const image = await decodeByTurbo(turbo, file, options);
        if (!image) continue;
        taken++;
        assert.deepEqual(image, await decodeJpeg(file, options));
      }
    }
    assert(taken > 40, `only ${taken} were taken`);
  });

  it("leaves other transforms, other colours and damaged files to our own", async () => {
    const [file] = (await encodedFiles()) as [Uint8Array];
    const options: JpegOptions = { channels: 3, isFancy: false, isAccurate: true, ratio: 1 };
    assert.deepEqual(await decodeJpegFile(file, options), await decodeJpeg(file, options));
    const cut = file.subarray(0, file.length - 9);
    await assert.rejects(decodeJpegFile(cut, { ...options, isFancy: true, isAccurate: false }), (error) => {
      return error instanceof ServingError && error.code === "INVALID_ARGUMENT";
    });
  });

  it("takes only heads that every reader walks over alike", async () => {
    const [file] = (await encodedFiles()) as [Uint8Array];
    assert.equal(readJpegHead(file)?.width, 301);
    const twice = (at: number, bytes: readonly number[]): Uint8Array =>
      Buffer.concat([file.subarray(0, at), Buffer.from(bytes), file.subarray(at)]);
    // For one reader FF E0 is the length of what such a marker begins, for another the next marker, with a frame of its own.
    const rest = Buffer.alloc(0xffe0 + file.length);
    rest.set(file.subarray(2));
    rest.set(file.subarray(2), 0xffe0);
    for (const marker of [0x01, 0xd0, 0xd8, 0xdc]) {
      assert.equal(readJpegHead(Buffer.concat([Buffer.of(0xff, 0xd8, 0xff, marker), rest])), undefined);
    }
    assert.equal(readJpegHead(twice(2, [0xff, 0xfe, 0, 1])), undefined);
    assert.equal(readJpegHead(twice(2, [0])), undefined);
    assert.equal(readJpegHead(twice(2, [0xff])), undefined);
    const comment = [0xff, 0xfe, 0, 2];
    assert.equal(readJpegHead(twice(2, comment))?.width, 301);
    assert.equal(readJpegHead(twice(2, Array.from({ length: 300 }, () => comment).flat())), undefined);
  });

  it("asks no thread for what nothing could stop", async function () {
    const turbo = await loadTurbo();
    if (!turbo) this.skip();
    const options: JpegOptions = { channels: 3, isFancy: true, isAccurate: false, ratio: 1 };
    const [, , progressive] = (await encodedFiles()) as [Uint8Array, Uint8Array, Uint8Array];
    assert(await decodeByTurbo(turbo, progressive, options));
    const frame = Buffer.from(progressive).indexOf(Buffer.of(0xff, 0xc2));
    const large = (bytes: number): Buffer => {
      const file = Buffer.concat([progressive, Buffer.alloc(bytes)]);
      file.writeUInt16BE(8192, frame + 5);
      file.writeUInt16BE(8192, frame + 7);
      return file;
    };
    const asked: unknown[] = [];
    const recording = { ...turbo, decompress: async (file: Buffer) => void asked.push(file) };
    // Much too short for its size; long enough, but with more scans over so many pixels than fit a second.
    assert.equal(await decodeByTurbo(recording, large(0), options), undefined);
    assert.equal(await decodeByTurbo(recording, large(2 ** 20), options), undefined);
    assert.deepEqual(asked, []);
  });
});

function goldenFiles(): Uint8Array[] {
  return readGoldens("images")
    .filter(({ op, outputs }) => op === "DecodeJpeg" && outputs !== undefined)
    .map(({ inputs }) => (opGoldenTensor(inputs[0] as OpGoldenTensor).data as StringColumn).at(0));
}

/** Of sizes on both sides of where another thread decodes. */
async function encodedFiles(): Promise<Uint8Array[]> {
  const random = seededRandom(7);
  const files: Uint8Array[] = [];
  for (const [height, width] of [
    [203, 301],
    [16, 16],
    [1, 1],
    [2, 3],
    [33, 9],
  ] as const) {
    for (const progressive of [false, true]) {
      for (const chroma_downsampling of [true, false]) {
        const pixels = Uint8Array.from(
          { length: height * width * 3 },
          (_, i) => (i % 251) / 2 + (random.uint32() % 99),
        );
        const image = tensor("uint8", [height, width, 3], pixels);
        files.push(await encoded(image, { quality: 60 + (random.uint32() % 40), progressive, chroma_downsampling }));
      }
    }
  }
  return files;
}

async function encoded(image: Tensor, settings: Readonly<Record<string, number | boolean>>): Promise<Uint8Array> {
  const fixed = { format: "", density_unit: "in", x_density: 300, y_density: 300, xmp_metadata: "" };
  const attrs = new Attrs("EncodeJpeg", { ...fixed, optimize_size: false, ...settings });
  const node = { name: "node", op: "EncodeJpeg", inputs: [], controls: [], attrs };
  const [file] = await hostKernels.get("EncodeJpeg")!({ node, inputs: [image], state: newState() });
  return ((file as Tensor).data as StringColumn).at(0);
}
