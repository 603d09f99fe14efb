/** PNG files (W3C PNG, second edition) to samples, converted as TensorFlow asks libpng to. */
import { promisify } from "node:util";
import { crc32, inflate } from "node:zlib";
import { invalid } from "../call/errors.js";
import { checkImageSize } from "./image-size.js";
import { expectedByte, FILTER_COUNT, type PngImage } from "./png-format.js";

const inflateAsync = promisify(inflate);

export interface PngOptions {
  /** 0 = as in the file. */
  readonly channels: number;
  /** Bits of a result's sample. */
  readonly bits: 8 | 16;
}

const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const ALPHA = 4;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colour: number;
  readonly isInterlaced: boolean;
  /** Samples per pixel in the file. */
  readonly samples: number;
}

function corrupt(what: string) {
  return invalid(`Invalid PNG data: ${what}`);
}

const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  [GREY]: [1, 2, 4, 8, 16],
  [RGB]: [8, 16],
  [PALETTE]: [1, 2, 4, 8],
  [GREY + ALPHA]: [8, 16],
  [RGB + ALPHA]: [8, 16],
};

const SAMPLES: Readonly<Record<number, number>> = {
  [GREY]: 1,
  [RGB]: 3,
  [PALETTE]: 1,
  [GREY + ALPHA]: 2,
  [RGB + ALPHA]: 4,
};

function readHeader(view: DataView, at: number, length: number): Header {
  if (length !== 13) throw corrupt("a bad header");
  const [width, height] = [view.getUint32(at), view.getUint32(at + 4)];
  const [depth, colour] = [view.getUint8(at + 8), view.getUint8(at + 9)];
  if (width === 0 || height === 0 || !DEPTHS[colour]?.includes(depth) || view.getUint8(at + 12) > 1) {
    throw corrupt("a bad header");
  }
  checkImageSize(width, height);
  return { width, height, depth, colour, isInterlaced: view.getUint8(at + 12) === 1, samples: SAMPLES[colour]! };
}

interface Chunks {
  readonly header: Header;
  readonly palette: Uint8Array;
  readonly transparency: Uint8Array | undefined;
  readonly data: Uint8Array;
}

function readChunks(bytes: Uint8Array): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let header: Header | undefined;
  let palette = new Uint8Array(0);
  let transparency: Uint8Array | undefined;
  const parts: Uint8Array[] = [];
  for (let at = 8; ; ) {
    if (at + 12 > bytes.length) throw corrupt("the file ends too early");
    const length = view.getUint32(at);
    const kind = Buffer.from(bytes.buffer, bytes.byteOffset + at + 4, 4).toString("latin1");
    const start = at + 8;
    if (length > bytes.length - start - 4) throw corrupt("the file ends too early");
    const body = bytes.subarray(start, start + length);
    at = start + length + 4;
    const isCritical = kind.charCodeAt(0) < 0x60;
    if (crc32(bytes.subarray(start - 4, start + length)) !== view.getUint32(at - 4)) {
      if (isCritical) throw corrupt(`chunk ${kind} has a bad checksum`);
      continue;
    }
    if (!header && kind !== "IHDR") throw corrupt("no header");
    if (kind === "IHDR") header = readHeader(view, start, length);
    else if (kind === "PLTE") palette = body.slice();
    else if (kind === "tRNS") transparency = body.slice();
    else if (kind === "IDAT") parts.push(body);
    else if (kind === "IEND") break;
    else if (isCritical) throw corrupt(`unknown chunk ${kind}`);
  }
  if (!header || parts.length === 0) throw corrupt("no image data");
  return { header, palette, transparency, data: Buffer.concat(parts) };
}

/** Start and step of the seven passes of an interlaced image: x, y, x step, y step. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** Undoes the filter of the row at `at` (its filter byte), in place. */
function unfilter(raw: Uint8Array, at: number, size: number, step: number, previous: number): void {
  const kind = raw[at]!;
  if (kind >= FILTER_COUNT) throw corrupt(`unknown filter ${kind}`);
  if (kind === 0) return;
  if (kind === 1 || previous < 0) {
    // Above the first row are zeros: there Up keeps a byte, and Paeth expects what stands left of it.
    if (kind === 2) return;
    const shift = kind === 3 ? 1 : 0;
    for (let i = at + 1 + step; i <= at + size; i++) raw[i] = raw[i]! + (raw[i - step]! >> shift);
    return;
  }
  const up = previous - at;
  if (kind === 2) {
    for (let i = at + 1; i <= at + size; i++) raw[i] = raw[i]! + raw[i + up]!;
    return;
  }
  for (let i = at + 1; i <= at + Math.min(step, size); i++) raw[i] = raw[i]! + expectedByte(kind, 0, raw[i + up]!, 0);
  for (let i = at + 1 + step; i <= at + size; i++) {
    raw[i] = raw[i]! + expectedByte(kind, raw[i - step]!, raw[i + up]!, raw[i + up - step]!);
  }
}

/** What {@link samplesOf} answers for 8 bits a sample in order, which most files are: the same bytes, without those of filters. */
function plainSamples({ width, height, samples }: Header, raw: Uint8Array): Uint8Array {
  const size = width * samples;
  if (raw.length < height * (size + 1)) throw corrupt("the image data end too early");
  const out = new Uint8Array(height * size);
  for (let row = 0, at = 0; row < height; row++, at += size + 1) {
    unfilter(raw, at, size, samples, row === 0 ? -1 : at - size - 1);
    out.set(raw.subarray(at + 1, at + 1 + size), row * size);
  }
  return out;
}

/** Samples of the file, one number each, as they are stored. */
function samplesOf(header: Header, raw: Uint8Array): Uint8Array | Uint16Array {
  const { width, height, depth, samples } = header;
  if (depth === 8 && !header.isInterlaced) return plainSamples(header, raw);
  const out = new Uint16Array(width * height * samples);
  const step = Math.max(1, (samples * depth) >> 3);
  const passes = header.isInterlaced ? PASSES : ([[0, 0, 1, 1]] as const);
  let at = 0;
  for (const [x0, y0, dx, dy] of passes) {
    const across = Math.ceil((width - x0) / dx);
    const down = Math.ceil((height - y0) / dy);
    if (across <= 0 || down <= 0) continue;
    const size = Math.ceil((across * samples * depth) / 8);
    let previous = -1;
    for (let row = 0; row < down; row++) {
      if (at + 1 + size > raw.length) throw corrupt("the image data end too early");
      unfilter(raw, at, size, step, previous);
      for (let i = 0; i < across * samples; i++) {
        const pixel = Math.floor(i / samples);
        const to = ((y0 + row * dy) * width + x0 + pixel * dx) * samples + (i % samples);
        out[to] = sampleAt(raw, at + 1, i, depth);
      }
      previous = at;
      at += 1 + size;
    }
  }
  return out;
}

function sampleAt(raw: Uint8Array, start: number, i: number, depth: number): number {
  if (depth === 8) return raw[start + i]!;
  if (depth === 16) return (raw[start + 2 * i]! << 8) | raw[start + 2 * i + 1]!;
  const bit = i * depth;
  return (raw[start + (bit >> 3)]! >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

/** Weights of red and green as TensorFlow gives them to libpng; the rest is blue's. */
const [RED, GREEN] = [9797, 19234];

/**
 * Decodes a PNG file.
 *
 * @throws ServingError INVALID_ARGUMENT for what is no such file, is cut off, or has more pixels than are decoded
 */
export async function decodePng(bytes: Uint8Array, options: PngOptions): Promise<PngImage> {
  const { header, palette, transparency, data } = readChunks(bytes);
  const { width, height, depth, colour, samples } = header;
  const rawSize = (Math.ceil((width * samples * depth) / 8) + 1) * height * 2 + 64;
  let raw: Uint8Array;
  try {
    raw = await inflateAsync(data, { maxOutputLength: rawSize, finishFlush: 2 });
  } catch {
    throw corrupt("the image data cannot be decompressed");
  }
  const stored = samplesOf(header, raw);
  const isPalette = colour === PALETTE;
  const hasAlpha = (colour & ALPHA) !== 0;
  const own = isPalette ? (transparency ? 4 : 3) : samples;
  const channels = options.channels === 0 ? own : options.channels;
  // What a transparent colour says is alpha, which these files have not, or have as samples.
  if (stored instanceof Uint8Array && !isPalette && channels === samples && options.bits === 8) {
    return { width, height, channels, data: stored };
  }
  const wantsAlpha = channels % 2 === 0;
  const wantsGrey = channels < 3;
  const isGrey = !isPalette && (colour & RGB) === 0;
  const fileDepth = isPalette ? 8 : Math.max(8, depth);
  const expand = depth < 8 && isGrey ? 255 / ((1 << depth) - 1) : 1;
  // TensorFlow fills alpha in by the depth of the file, also where samples are then widened.
  const filler = 2 ** depth - 1;
  const opaque = isPalette || !transparency ? filler : 2 ** fileDepth - 1;
  const shrinks = fileDepth === 16 && options.bits === 8;
  const widening = fileDepth === 8 && options.bits === 16 ? 257 : 1;
  const count = width * height;
  const out = options.bits === 8 ? new Uint8Array(count * channels) : new Uint16Array(count * channels);
  const key = !isPalette && transparency ? keyOf(transparency, isGrey ? 1 : 3) : undefined;
  for (let p = 0; p < count; p++) {
    let [red, green, blue, alpha] = [0, 0, 0, opaque];
    const from = p * samples;
    if (isPalette) {
      const index = stored[from]!;
      [red, green, blue] = [palette[3 * index] ?? 0, palette[3 * index + 1] ?? 0, palette[3 * index + 2] ?? 0];
      if (transparency) alpha = transparency[index] ?? 255;
    } else {
      red = stored[from]!;
      green = isGrey ? red : stored[from + 1]!;
      blue = isGrey ? red : stored[from + 2]!;
      if (hasAlpha) alpha = stored[from + samples - 1]!;
      else if (key && red === key[0] && (isGrey || (green === key[1] && blue === key[2]))) alpha = 0;
      red *= expand;
      green *= expand;
      blue *= expand;
    }
    const to = p * channels;
    if (wantsGrey && !(red === green && red === blue)) {
      // libpng rounds 16-bit samples only, and before it cuts them to 8 bits.
      const sum = red * RED + green * GREEN + blue * (32768 - RED - GREEN);
      red = Math.floor((sum + (fileDepth === 16 ? 16384 : 0)) / 32768);
    }
    out[to] = shrinks ? red >> 8 : red * widening;
    if (!wantsGrey) {
      out[to + 1] = shrinks ? green >> 8 : green * widening;
      out[to + 2] = shrinks ? blue >> 8 : blue * widening;
    }
    if (wantsAlpha) out[to + channels - 1] = shrinks ? alpha >> 8 : alpha * widening;
  }
  return { width, height, channels, data: out };
}

/** The colour that is transparent, in samples of the file. */
function keyOf(transparency: Uint8Array, count: number): number[] {
  return Array.from({ length: count }, (_, i) => ((transparency[2 * i] ?? 0) << 8) | (transparency[2 * i + 1] ?? 0));
}
