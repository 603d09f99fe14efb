/** Image encoding ops, and the shape that a JPEG file tells. */
import { ServingError } from "@shardserve/core";
import { elementCount, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integerOf } from "../call/shapes.js";
import { encodeJpeg, type JpegSettings } from "./jpeg-encode.js";
import { encodePng } from "./png-encode.js";

/** libjpeg's limit of a side. */
const JPEG_SIDE_MAX = 65_500;

async function encodePngOp(op: OpCall): Promise<Tensor[]> {
  const image = op.tensor(0);
  const { shape } = image;
  check(shape.length >= 3, () => `images must be at least rank 3, got ${printShape(shape)}`);
  const level = op.attrs.int("compression");
  check(level >= -1 && level <= 9, () => `compression should be in [-1,9], got ${level}`);
  const [height, width, channels] = shape.slice(-3) as [number, number, number];
  check(channels >= 1 && channels <= 4, () => `image must have 1, 2, 3, or 4 channels, got ${channels}`);
  const batch = shape.slice(0, -3);
  const count = elementCount(batch);
  if (count > 0 && (height === 0 || width === 0)) throw new ServingError("INTERNAL", "PNG encoding failed");
  const data = image.data as Uint8Array | Uint16Array;
  const size = height * width * channels;
  const files: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    op.signal?.throwIfAborted();
    files.push(await encodePng({ width, height, channels, data: data.subarray(i * size, (i + 1) * size) }, level));
  }
  return [tensor("string", batch, StringColumn.from(files))];
}

const FORMATS: Readonly<Record<string, number | undefined>> = { grayscale: 1, rgb: 3 };

async function encode(op: OpCall, settings: JpegSettings, format: string): Promise<Tensor[]> {
  const { shape, data } = op.tensor(0);
  check(shape.length === 3, () => `image must be 3-dimensional${printShape(shape)}`);
  const { quality } = settings;
  check(quality >= 0 && quality <= 100, () => `quality must be in [0,100], got ${quality}`);
  const [height, width, channels] = shape as [number, number, number];
  if (channels !== 1 && channels !== 3) throw invalid(`image must have 1 or 3 channels, got ${printShape(shape)}`);
  const wanted = FORMATS[format];
  check(
    wanted === undefined || wanted === channels,
    () => `format '${format}' expects ${wanted} channels got ${printShape(shape)}`,
  );
  const isPossible = [height, width].every((side) => side > 0 && side <= JPEG_SIDE_MAX);
  if (!isPossible) throw new ServingError("INTERNAL", "JPEG encoding failed");
  const file = await encodeJpeg({ width, height, channels, data: data as Uint8Array }, settings);
  return [tensor("string", [], StringColumn.from([file]))];
}

const DEFAULTS: JpegSettings = {
  quality: 95,
  halvesChroma: true,
  densityUnit: 1,
  xDensity: 300,
  yDensity: 300,
  xmp: new Uint8Array(0),
};

function encodeJpegOp(op: OpCall): Promise<Tensor[]> {
  const { attrs } = op;
  const settings: JpegSettings = {
    quality: attrs.int("quality"),
    halvesChroma: attrs.bool("chroma_downsampling"),
    densityUnit: attrs.text("density_unit") === "cm" ? 2 : 1,
    xDensity: attrs.int("x_density"),
    yDensity: attrs.int("y_density"),
    xmp: attrs.bytes("xmp_metadata"),
  };
  return encode(op, settings, attrs.text("format"));
}

function encodeVariableQuality(op: OpCall): Promise<Tensor[]> {
  const quality = op.tensor(1);
  check(quality.shape.length === 0, () => `quality must be scalar: ${printShape(quality.shape)}`);
  return encode(op, { ...DEFAULTS, quality: integerOf(quality) }, "");
}

/** Markers that start a frame: 0xc0 to 0xcf without 0xc4, 0xc8 and 0xcc. */
function startsFrame(marker: number): boolean {
  return marker === 0xc0 || (marker > 0xc0 && marker <= 0xcf && (marker & 3) !== 0);
}

const START_OF_SCAN = 0xda;

function extractJpegShape(op: OpCall): Tensor[] {
  const { shape } = op.tensor(0);
  check(shape.length === 0, () => `contents must be scalar, got shape ${printShape(shape)}`);
  const bytes = op.strings(0).at(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dtype = op.attrs.dtype("output_type");
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    let found: number[] | undefined;
    for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; ) {
      const marker = bytes[at + 1]!;
      if (marker === 0xff) {
        at++;
        continue;
      }
      if (startsFrame(marker)) found ??= [view.getUint16(at + 5), view.getUint16(at + 7), bytes[at + 9]!];
      if (marker === START_OF_SCAN && found) return [withData(dtype, [3], indexData(dtype, found))];
      at += 2 + view.getUint16(at + 2);
    }
  }
  throw invalid(`Invalid JPEG data, size ${bytes.length}`);
}

export const IMAGE_ENCODE_KERNELS: Readonly<Record<string, Kernel>> = {
  EncodePng: encodePngOp,
  EncodeJpeg: encodeJpegOp,
  EncodeJpegVariableQuality: encodeVariableQuality,
  ExtractJpegShape: extractJpegShape,
};
