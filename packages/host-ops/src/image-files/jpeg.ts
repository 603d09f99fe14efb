/** JPEG files to pixels exactly as libjpeg-turbo makes them, with its colour conversion. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { check } from "../call/errors.js";
import type { BlockSize } from "./jpeg-dct.js";
import { type JpegFrame, readJpeg } from "./jpeg-frame.js";
import { componentRows, type RowMaker, SAMPLES_PER_TURN } from "./jpeg-planes.js";

export interface JpegOptions {
  /** 0 = as in the file, 1 = grey, 3 = RGB. */
  readonly channels: 0 | 1 | 3;
  /** Chroma is interpolated, not repeated. */
  readonly isFancy: boolean;
  readonly isAccurate: boolean;
  /** How many times smaller the image is made. */
  readonly ratio: 1 | 2 | 4 | 8;
  /** The part of the smaller image that is wanted; absent = all. */
  readonly crop?: CropWindow | undefined;
}

export interface CropWindow {
  readonly y: number;
  readonly x: number;
  readonly height: number;
  readonly width: number;
}

export interface Image {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

const FRACTION = 65536;
const HALF = 32768;
const fix = (value: number): number => Math.floor(value * FRACTION + 0.5);
const [RED_CR, BLUE_CB, GREEN_CR, GREEN_CB] = [fix(1.402), fix(1.772), fix(0.71414), fix(0.34414)];

function isYcc(frame: JpegFrame): boolean {
  const ids = frame.components.map(({ id }) => id);
  if (frame.components.length === 4) return frame.adobeTransform === 2;
  if (frame.components.length !== 3) return false;
  if (frame.hasJfif) return true;
  if (frame.adobeTransform !== undefined) return frame.adobeTransform !== 0;
  return !(ids[0] === 0x52 && ids[1] === 0x47 && ids[2] === 0x42);
}

/**
 * Decodes a JPEG file.
 *
 * @throws ServingError INVALID_ARGUMENT for what is no such file, is cut off, or has more pixels than are decoded
 */
export async function decodeJpeg(bytes: Uint8Array, options: JpegOptions, signal?: CancelSignal): Promise<Image> {
  const frame = await readJpeg(bytes, signal);
  const { components } = frame;
  const channels = options.channels !== 0 ? options.channels : components.length === 1 ? 1 : 3;
  check(
    channels !== 1 || components.length === 1 || (components.length === 3 && isYcc(frame)),
    () => "Invalid JPEG data or crop window: a grey image of this colour space is not supported",
  );
  const size = (8 / options.ratio) as BlockSize;
  const { y: top, x, height, width } = cropOf(frame, options);
  // As libjpeg, which cuts an image off at its blocks and smooths what is left like a whole image.
  const align = components.length === 1 ? size : size * frame.hMax;
  const start = x - (x % align);
  const columns = { start, width: x + width - start };
  const rows: RowMaker[] = [];
  for (const component of channels === 1 ? components.slice(0, 1) : components) {
    rows.push(await componentRows(frame, component, { ...options, size, columns }, signal));
  }
  const data = new Uint8ClampedArray(width * height * channels);
  // Doubled rows may be longer than the image.
  const lines = rows.map(() => new Uint8ClampedArray(columns.width + 8 * frame.hMax));
  const wanted = lines.map((line) => line.subarray(x - start, x - start + width));
  const write = lineWriter(frame, wanted, channels, data, width);
  let untilTurn = SAMPLES_PER_TURN;
  for (let y = 0; y < height; y++) {
    for (let c = 0; c < rows.length; c++) rows[c]!(top + y, lines[c]!);
    write(y * width * channels);
    untilTurn -= columns.width * rows.length;
    if (untilTurn <= 0) {
      untilTurn = SAMPLES_PER_TURN;
      await nextTurn();
      signal?.throwIfAborted();
    }
  }
  return { width, height, channels, data: new Uint8Array(data.buffer) };
}

function cropOf(frame: JpegFrame, { ratio, crop }: JpegOptions): CropWindow {
  const [tall, wide] = [Math.ceil(frame.height / ratio), Math.ceil(frame.width / ratio)];
  if (!crop) return { y: 0, x: 0, height: tall, width: wide };
  const { y, x, height, width } = crop;
  check(
    y >= 0 && x >= 0 && height > 0 && width > 0 && y + height <= tall && x + width <= wide,
    () => "Invalid JPEG data or crop window",
  );
  return crop;
}

/** What writes the samples of `lines`, one a component, as pixels to a place in `data`. */
function lineWriter(
  frame: JpegFrame,
  lines: readonly Uint8ClampedArray[],
  channels: number,
  data: Uint8ClampedArray,
  width: number,
): (to: number) => void {
  const [first] = lines as [Uint8ClampedArray];
  if (channels === 1) return (to) => data.set(first.subarray(0, width), to);
  if (lines.length === 1) return (to) => interleave([first, first, first], data, to, width);
  const write = isYcc(frame) ? yccToRgb : interleave;
  if (lines.length === 3) return (to) => write(lines, data, to, width);
  const isInverted = frame.adobeTransform !== undefined;
  return (to) => {
    write(lines, data, to, width);
    // YCCK is the YCC of inverted CMY.
    mixBlack(data.subarray(to, to + 3 * width), lines[3]!, isYcc(frame), isInverted);
  };
}

function interleave(lines: readonly Uint8ClampedArray[], data: Uint8ClampedArray, to: number, width: number): void {
  const [first, second, third] = lines as [Uint8ClampedArray, Uint8ClampedArray, Uint8ClampedArray];
  for (let x = 0, at = to; x < width; x++, at += 3) {
    data[at] = first[x]!;
    data[at + 1] = second[x]!;
    data[at + 2] = third[x]!;
  }
}

/** Y, Cb, Cr to R, G, B. */
function yccToRgb(lines: readonly Uint8ClampedArray[], data: Uint8ClampedArray, to: number, width: number): void {
  const [first, second, third] = lines as [Uint8ClampedArray, Uint8ClampedArray, Uint8ClampedArray];
  for (let x = 0, at = to; x < width; x++, at += 3) {
    const y = first[x]!;
    const cb = second[x]! - 128;
    const cr = third[x]! - 128;
    data[at] = y + ((Math.imul(RED_CR, cr) + HALF) >> 16);
    data[at + 1] = y + ((HALF - Math.imul(GREEN_CB, cb) - Math.imul(GREEN_CR, cr)) >> 16);
    data[at + 2] = y + ((Math.imul(BLUE_CB, cb) + HALF) >> 16);
  }
}

/** CMYK to RGB as TensorFlow does, in place: `inks` are C, M and Y, or inverted. */
function mixBlack(inks: Uint8ClampedArray, black: Uint8ClampedArray, areInverted: boolean, isInverted: boolean): void {
  for (let i = 0; i < inks.length; i++) {
    const k = black[Math.floor(i / 3)]!;
    const ink = areInverted ? 255 - inks[i]! : inks[i]!;
    inks[i] = Math.floor((isInverted ? k * ink : (255 - k) * (255 - ink)) / 255);
  }
}
