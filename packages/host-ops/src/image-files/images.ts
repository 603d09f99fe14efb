import type { CancelSignal } from "@shardserve/core";
/** Image decoding ops: JPEG, PNG, GIF and BMP. */
import type { Tensor } from "@shardserve/tensor";
import { decodeBmp } from "./bitmap.js";
import { check, invalid, printShape } from "../call/errors.js";
import { withData } from "../call/elements.js";
import { decodeGif } from "./gif.js";
import { decodeJpegFile } from "./jpeg-turbo.js";
import type { CropWindow } from "./jpeg.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { decodePng } from "./png.js";
import { PNG_SIGNATURE } from "./png-format.js";
import { integersOf } from "../call/shapes.js";

type Format = "jpeg" | "png" | "gif" | "bmp";

function formatOf(bytes: Uint8Array): Format | undefined {
  const starts = (...magic: number[]): boolean => magic.every((byte, i) => bytes[i] === byte);
  if (starts(0xff, 0xd8, 0xff)) return "jpeg";
  if (starts(...PNG_SIGNATURE)) return "png";
  if (starts(0x47, 0x49, 0x46, 0x38)) return "gif";
  if (starts(0x42, 0x4d)) return "bmp";
  return undefined;
}

interface Decoded {
  readonly shape: readonly number[];
  readonly data: Uint8Array | Uint16Array;
}

interface Wanted {
  readonly channels: number;
  readonly bits: 8 | 16;
  /** Of an animation; "only" refuses one of several. */
  readonly frames: "all" | "first" | "only";
  readonly isFancy: boolean;
  readonly isAccurate: boolean;
  /** How many times smaller a JPEG is made. */
  readonly ratio: 1 | 2 | 4 | 8;
  /** Of a JPEG; absent = all. */
  readonly crop?: CropWindow;
  readonly signal: CancelSignal | undefined;
}

async function decode(bytes: Uint8Array, format: Format, wanted: Wanted): Promise<Decoded> {
  switch (format) {
    case "jpeg": {
      const { channels } = wanted;
      check(
        channels === 0 || channels === 1 || channels === 3,
        () => `channels must be 0, 1, or 3 for JPEG, got ${channels}`,
      );
      const image = await decodeJpegFile(bytes, { ...wanted, channels: channels as 0 | 1 | 3 }, wanted.signal);
      return { shape: [image.height, image.width, image.channels], data: image.data };
    }
    case "png": {
      const image = await decodePng(bytes, wanted);
      return { shape: [image.height, image.width, image.channels], data: image.data };
    }
    case "gif": {
      check(
        wanted.channels === 0 || wanted.channels === 3,
        () => `channels must be 0 or 3 for GIF, got ${wanted.channels}`,
      );
      const image = await decodeGif(bytes, wanted.frames === "first" ? 1 : undefined);
      check(
        wanted.frames !== "only" || image.frames === 1,
        () =>
          `Got ${image.frames} frames, but animated gifs can only be decoded by tf.io.decode_gif or tf.io.decode_image`,
      );
      const shape = [image.height, image.width, 3];
      return { shape: wanted.frames === "all" ? [image.frames, ...shape] : shape, data: image.data };
    }
    case "bmp": {
      const image = decodeBmp(bytes, wanted.channels);
      return { shape: [image.height, image.width, image.channels], data: image.data };
    }
  }
}

/** The bytes of the one file that input 0 holds. */
function contents(op: OpCall): Uint8Array {
  const { shape } = op.tensor(0);
  check(shape.length === 0, () => `\`contents\` must be scalar but got shape${printShape(shape)}`);
  return op.strings(0).at(0);
}

function formatOrThrow(bytes: Uint8Array): Format {
  check(bytes.length > 0, () => "Input is empty.");
  const format = formatOf(bytes);
  if (!format) throw invalid("Unknown image file format. One of JPEG, PNG, GIF, BMP required.");
  return format;
}

/** Ops named by a format take most others too, as in TensorFlow. */
async function decodeNamed(op: OpCall, own: "jpeg" | "png" | "bmp"): Promise<Tensor[]> {
  const bytes = contents(op);
  const format = formatOrThrow(bytes);
  check(format === "bmp" ? own === "bmp" : own !== "bmp", () =>
    format === "bmp"
      ? "Trying to decode BMP format using a wrong op. Use `decode_bmp` or `decode_image` instead. Op used: " +
        op.node.op
      : `Trying to decode ${format.toUpperCase()} format using DecodeBmp op. Use \`decode_${format}\` or \`decode_image\` instead.`,
  );
  const dtype = op.attrs.has("dtype") ? op.attrs.dtype("dtype") : "uint8";
  const decoded = await decode(bytes, format, {
    channels: op.attrs.int("channels"),
    bits: dtype === "uint16" && format === "png" ? 16 : 8,
    frames: "only",
    ...jpegFlags(op),
    signal: op.signal,
  });
  return [convert(decoded, dtype)];
}

function jpegFlags(op: OpCall): Pick<Wanted, "isFancy" | "isAccurate" | "ratio"> {
  const ratio = op.attrs.has("ratio") ? op.attrs.int("ratio") : 1;
  check(ratio === 1 || ratio === 2 || ratio === 4 || ratio === 8, () => `ratio must be 1, 2, 4, or 8, got ${ratio}`);
  return {
    ratio: ratio as 1 | 2 | 4 | 8,
    isFancy: !op.attrs.has("fancy_upscaling") || op.attrs.bool("fancy_upscaling"),
    isAccurate: op.attrs.has("dct_method") && op.attrs.text("dct_method") === "INTEGER_ACCURATE",
  };
}

/** Samples as the op's dtype: 8 bits become 16 or floats in [0, 1]. */
function convert({ shape, data }: Decoded, dtype: Tensor["dtype"]): Tensor {
  if (dtype === "uint8") return withData(dtype, shape, data);
  if (dtype === "uint16") {
    return withData(dtype, shape, data instanceof Uint16Array ? data : Uint16Array.from(data, (value) => value * 256));
  }
  if (dtype !== "float32") throw invalid(`images of ${dtype} are not supported`);
  const scale = Math.fround(1 / (data instanceof Uint16Array ? 65535 : 255));
  return withData(
    dtype,
    shape,
    Float32Array.from(data, (value) => value * scale),
  );
}

async function decodeImage(op: OpCall): Promise<Tensor[]> {
  const bytes = contents(op);
  const format = formatOrThrow(bytes);
  const dtype = op.attrs.dtype("dtype");
  const decoded = await decode(bytes, format, {
    channels: op.attrs.int("channels"),
    bits: format === "png" && dtype !== "uint8" ? 16 : 8,
    frames: op.attrs.bool("expand_animations") ? "all" : "first",
    isFancy: true,
    isAccurate: false,
    ratio: 1,
    signal: op.signal,
  });
  return [convert(decoded, dtype)];
}

async function decodeGifOp(op: OpCall): Promise<Tensor[]> {
  const bytes = contents(op);
  const format = formatOrThrow(bytes);
  check(
    format !== "bmp",
    () =>
      "Trying to decode BMP format using a wrong op. Use `decode_bmp` or `decode_image` instead. Op used: DecodeGif",
  );
  const { shape, data } = await decode(bytes, format, {
    channels: format === "gif" ? 0 : 3,
    bits: 8,
    frames: "all",
    isFancy: true,
    isAccurate: false,
    ratio: 1,
    signal: op.signal,
  });
  return [withData("uint8", shape.length === 4 ? shape : [1, ...shape], data)];
}

async function decodeAndCropJpeg(op: OpCall): Promise<Tensor[]> {
  const bytes = contents(op);
  if (formatOrThrow(bytes) !== "jpeg") throw invalid("Trying to decode a non-JPEG image using DecodeAndCropJpeg op.");
  const [y, x, height, width] = integersOf(op.tensor(1)) as unknown as [number, number, number, number];
  const image = await decode(bytes, "jpeg", {
    channels: op.attrs.int("channels"),
    bits: 8,
    frames: "only",
    ...jpegFlags(op),
    crop: { y, x, height, width },
    signal: op.signal,
  });
  return [withData("uint8", image.shape, image.data)];
}

export const IMAGE_KERNELS: Readonly<Record<string, Kernel>> = {
  DecodeJpeg: (op) => decodeNamed(op, "jpeg"),
  DecodePng: (op) => decodeNamed(op, "png"),
  DecodeBmp: (op) => decodeNamed(op, "bmp"),
  DecodeGif: decodeGifOp,
  DecodeImage: decodeImage,
  DecodeAndCropJpeg: decodeAndCropJpeg,
};
