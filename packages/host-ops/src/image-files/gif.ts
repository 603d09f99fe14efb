/** GIF files (GIF89a) to RGB frames, each drawn over the one before, as TensorFlow reads them. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { check, invalid } from "../call/errors.js";
import { IMAGE_PIXELS_MAX } from "./image-size.js";

export interface GifImage {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  /** [frames, height, width, 3] */
  readonly data: Uint8Array;
}

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly isInterlaced: boolean;
  readonly palette: Uint8Array;
  readonly transparent: number;
  readonly pixels: Uint8Array;
}

const CODES_MAX = 4096;

function corrupt(what: string) {
  return invalid(`Invalid GIF data: ${what}`);
}

/** Indices of `count` pixels from LZW codes; what is missing stays 0. */
function lzw(data: Uint8Array, codeSize: number, count: number): Uint8Array {
  if (codeSize < 1 || codeSize > 8) throw corrupt("a bad code size");
  const out = new Uint8Array(count);
  const prefix = new Int16Array(CODES_MAX);
  const suffix = new Uint8Array(CODES_MAX);
  const stack = new Uint8Array(CODES_MAX + 1);
  const clear = 1 << codeSize;
  let next = clear + 2;
  let width = codeSize + 1;
  let previous = -1;
  let first = 0;
  let at = 0;
  let bits = 0;
  let bitCount = 0;
  for (const byte of data) {
    bits |= byte << bitCount;
    bitCount += 8;
    while (bitCount >= width) {
      let code = bits & ((1 << width) - 1);
      bits >>>= width;
      bitCount -= width;
      if (code === clear) {
        next = clear + 2;
        width = codeSize + 1;
        previous = -1;
        continue;
      }
      if (code === clear + 1) return out;
      const given = code;
      let depth = 0;
      if (previous < 0) {
        if (code >= clear) throw corrupt("a bad code");
      } else if (code > next || (code === next && next >= CODES_MAX)) throw corrupt("a bad code");
      else if (code === next) {
        stack[depth++] = first;
        code = previous;
      }
      while (code >= clear) {
        stack[depth++] = suffix[code]!;
        code = prefix[code]!;
      }
      first = code;
      stack[depth++] = code;
      while (depth > 0 && at < count) out[at++] = stack[--depth]!;
      if (previous >= 0 && next < CODES_MAX) {
        prefix[next] = previous;
        suffix[next++] = first;
        if (next === 1 << width && width < 12) width++;
      }
      previous = given;
      if (at === count) return out;
    }
  }
  throw corrupt("the image data end too early");
}

/** Rows of an interlaced frame in the order they are stored. */
function rowOrder(height: number, isInterlaced: boolean): number[] {
  const rows: number[] = [];
  const passes = isInterlaced
    ? [
        [0, 8],
        [4, 8],
        [2, 4],
        [1, 2],
      ]
    : [[0, 1]];
  for (const [start, step] of passes) for (let y = start!; y < height; y += step!) rows.push(y);
  return rows;
}

/** Parses frames one at a time, up to `framesMax`. */
async function readFrames(bytes: Uint8Array, framesMax: number): Promise<Frame[]> {
  const uint16 = (at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  if (bytes.length < 13) throw corrupt("the file ends too early");
  const [width, height, flags] = [uint16(6), uint16(8), bytes[10]!];
  let at = 13;
  const palette = (size: number): Uint8Array => {
    const colours = bytes.slice(at, at + 3 * size);
    at += 3 * size;
    return colours;
  };
  const global = (flags & 0x80) !== 0 ? palette(2 << (flags & 7)) : undefined;
  const blocks = (): Uint8Array => {
    const parts: Uint8Array[] = [];
    for (;;) {
      const size = bytes[at++];
      if (size === undefined || at + size > bytes.length) throw corrupt("the file ends too early");
      if (size === 0) return Buffer.concat(parts);
      parts.push(bytes.subarray(at, at + size));
      at += size;
    }
  };
  const frames: Frame[] = [];
  let transparent = -1;
  let pixelCount = 0;
  while (frames.length < framesMax) {
    const kind = bytes[at++];
    if (kind === undefined) throw corrupt("the file ends too early");
    if (kind === 0x3b) break;
    if (kind === 0x21) {
      const label = bytes[at++];
      const body = blocks();
      if (label === 0xf9 && body.length >= 4) transparent = (body[0]! & 1) !== 0 ? body[3]! : -1;
      continue;
    }
    if (kind !== 0x2c) throw corrupt("an unknown block");
    const [left, top, wide, high, local] = [uint16(at), uint16(at + 2), uint16(at + 4), uint16(at + 6), bytes[at + 8]!];
    at += 9;
    const colours = (local & 0x80) !== 0 ? palette(2 << (local & 7)) : global;
    if (!colours) throw corrupt("missing color map for frame");
    pixelCount += Math.max(wide * high, width * height);
    check(
      pixelCount <= IMAGE_PIXELS_MAX,
      () => `Image too large: ${pixelCount} pixels, at most ${IMAGE_PIXELS_MAX} are decoded`,
    );
    const codeSize = bytes[at++] ?? 0;
    const pixels = lzw(blocks(), codeSize, wide * high);
    const isInterlaced = (local & 0x40) !== 0;
    frames.push({ left, top, width: wide, height: high, isInterlaced, palette: colours, transparent, pixels });
    transparent = -1;
    await nextTurn();
  }
  if (frames.length === 0) throw corrupt("no frames");
  return frames;
}

/**
 * Decodes a GIF file.
 *
 * @param framesMax  how many of its frames are wanted
 * @throws ServingError INVALID_ARGUMENT for what is no such file, is cut off, or has more pixels than are decoded
 */
export async function decodeGif(bytes: Uint8Array, framesMax = Number.POSITIVE_INFINITY): Promise<GifImage> {
  const frames = await readFrames(bytes, framesMax);
  // As TensorFlow, whose canvas is no larger than the largest frame.
  const width = Math.max(...frames.map((frame) => frame.width));
  const height = Math.max(...frames.map((frame) => frame.height));
  const size = width * height * 3;
  check(
    (size / 3) * frames.length <= IMAGE_PIXELS_MAX,
    () => `Image too large: ${(size / 3) * frames.length} pixels, at most ${IMAGE_PIXELS_MAX} are decoded`,
  );
  const data = new Uint8Array(size * frames.length);
  frames.forEach((frame, k) => {
    const base = k * size;
    if (k > 0) data.copyWithin(base, base - size, base);
    rowOrder(frame.height, frame.isInterlaced).forEach((y, stored) => {
      if (frame.top + y >= height) return;
      for (let x = 0; x < frame.width && frame.left + x < width; x++) {
        const index = frame.pixels[stored * frame.width + x]!;
        if (index === frame.transparent && k > 0) continue;
        const to = base + ((frame.top + y) * width + frame.left + x) * 3;
        for (let c = 0; c < 3; c++) data[to + c] = frame.palette[3 * index + c] ?? 0;
      }
    });
  });
  return { width, height, frames: frames.length, data };
}
