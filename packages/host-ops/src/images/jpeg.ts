import type { CancelSignal } from "@shardserve/core";
/**
 * JPEG coefficients to pixels exactly as libjpeg-turbo makes them: the integer DCTs of jidctfst.c (TensorFlow's default)
 * and jidctint.c, "fancy" upsampling, and its colour conversion.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { check, invalid } from "../call/errors.js";
import { type JpegFrame, readJpeg } from "./jpeg-frame.js";
import type { JpegComponent } from "./jpeg-scan.js";

export interface JpegOptions {
  /** 0 = as in the file, 1 = grey, 3 = RGB. */
  readonly channels: 0 | 1 | 3;
  /** Chroma is interpolated, not repeated. */
  readonly isFancy: boolean;
  readonly isAccurate: boolean;
}

export interface Image {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

const ROWS_PER_TURN = 32;

/** Samples of one component at its own resolution; rows are `stride` apart. */
interface Plane {
  readonly samples: Uint8Array;
  readonly stride: number;
  readonly width: number;
  readonly height: number;
}

const SCALES = [1, 1.387039845, 1.306562965, 1.175875602, 1, 0.785694958, 0.5411961, 0.275899379];

/** Quantisation steps times the scale factors of the fast DCT, with 2 bits of fraction. */
function fastSteps(table: Uint16Array): Int32Array {
  return Int32Array.from(table, (step, i) => {
    const scale = Math.round(SCALES[i >> 3]! * SCALES[i & 7]! * 16384);
    return (step * scale + 2048) >> 12;
  });
}

const work = new Int32Array(64);

function clampSample(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** The inverse DCT of jidctfst.c (Arai, Agui and Nakajima): 8 bits of fraction in its constants, plain right shifts. */
function fastDct(input: Int16Array, at: number, steps: Int32Array, out: Uint8Array, to: number, stride: number): void {
  for (let pass = 0; pass < 2; pass++) {
    for (let i = 0; i < 8; i++) {
      // Columns first, then rows.
      const [base, gap] = pass === 0 ? [i, 8] : [i * 8, 1];
      const read = (k: number): number =>
        pass === 0 ? Math.imul(input[at + base + k * 8]!, steps[base + k * 8]!) : work[base + k]!;
      const [d0, d1, d2, d3] = [read(0), read(1), read(2), read(3)];
      const [d4, d5, d6, d7] = [read(4), read(5), read(6), read(7)];
      const e10 = d0 + d4;
      const e11 = d0 - d4;
      const e13 = d2 + d6;
      const e12 = (((d2 - d6) * 362) >> 8) - e13;
      const [t0, t3, t1, t2] = [e10 + e13, e10 - e13, e11 + e12, e11 - e12];
      const z13 = d5 + d3;
      const z10 = d5 - d3;
      const z11 = d1 + d7;
      const z12 = d1 - d7;
      const t7 = z11 + z13;
      const o11 = ((z11 - z13) * 362) >> 8;
      const z5 = ((z10 + z12) * 473) >> 8;
      const o10 = ((z12 * 277) >> 8) - z5;
      const o12 = ((z10 * -669) >> 8) + z5;
      const t6 = o12 - t7;
      const t5 = o11 - t6;
      const t4 = o10 + t5;
      if (pass === 0) {
        work[base] = t0 + t7;
        work[base + 7 * gap] = t0 - t7;
        work[base + gap] = t1 + t6;
        work[base + 6 * gap] = t1 - t6;
        work[base + 2 * gap] = t2 + t5;
        work[base + 5 * gap] = t2 - t5;
        work[base + 4 * gap] = t3 + t4;
        work[base + 3 * gap] = t3 - t4;
      } else {
        const row = to + i * stride;
        out[row] = clampSample(((t0 + t7) >> 5) + 128);
        out[row + 7] = clampSample(((t0 - t7) >> 5) + 128);
        out[row + 1] = clampSample(((t1 + t6) >> 5) + 128);
        out[row + 6] = clampSample(((t1 - t6) >> 5) + 128);
        out[row + 2] = clampSample(((t2 + t5) >> 5) + 128);
        out[row + 5] = clampSample(((t2 - t5) >> 5) + 128);
        out[row + 4] = clampSample(((t3 + t4) >> 5) + 128);
        out[row + 3] = clampSample(((t3 - t4) >> 5) + 128);
      }
    }
  }
}

/** The inverse DCT of jidctint.c (Loeffler, Ligtenberg and Moschytz): 13 bits of fraction, rounded. */
function accurateDct(
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8Array,
  to: number,
  stride: number,
): void {
  for (let pass = 0; pass < 2; pass++) {
    for (let i = 0; i < 8; i++) {
      const base = pass === 0 ? i : i * 8;
      const read = (k: number): number =>
        pass === 0 ? Math.imul(input[at + base + k * 8]!, steps[base + k * 8]!) : work[base + k]!;
      const [d0, d1, d2, d3] = [read(0), read(1), read(2), read(3)];
      const [d4, d5, d6, d7] = [read(4), read(5), read(6), read(7)];
      const even = (d2 + d6) * 4433;
      const e2 = even - d6 * 15137;
      const e3 = even + d2 * 6270;
      const e0 = (d0 + d4) * 8192;
      const e1 = (d0 - d4) * 8192;
      const [t10, t13, t11, t12] = [e0 + e3, e0 - e3, e1 + e2, e1 - e2];
      const z5 = (d7 + d3 + d5 + d1) * 9633;
      const z1 = -(d7 + d1) * 7373;
      const z2 = -(d5 + d3) * 20995;
      const z3 = -(d7 + d3) * 16069 + z5;
      const z4 = -(d5 + d1) * 3196 + z5;
      const t0 = d7 * 2446 + z1 + z3;
      const t1 = d5 * 16819 + z2 + z4;
      const t2 = d3 * 25172 + z2 + z3;
      const t3 = d1 * 12299 + z1 + z4;
      const results = [t10 + t3, t11 + t2, t12 + t1, t13 + t0, t13 - t0, t12 - t1, t11 - t2, t10 - t3];
      for (let k = 0; k < 8; k++) {
        if (pass === 0) work[base + k * 8] = (results[k]! + 1024) >> 11;
        else out[to + i * stride + k] = clampSample(((results[k]! + (1 << 17)) >> 18) + 128);
      }
    }
  }
}

async function planeOf(
  frame: JpegFrame,
  component: JpegComponent,
  isAccurate: boolean,
  signal?: CancelSignal,
): Promise<Plane> {
  const { quantization, blocksWide, blocksHigh, blocksDown, blocksAcross, coefficients, h, v } = component;
  if (!quantization) throw invalid("Invalid JPEG data or crop window: a quantization table is missing");
  const stride = blocksWide * 8;
  const samples = new Uint8Array(stride * blocksHigh * 8);
  const steps = isAccurate ? Int32Array.from(quantization) : fastSteps(quantization);
  const transform = isAccurate ? accurateDct : fastDct;
  for (let row = 0; row < blocksDown; row++) {
    for (let column = 0; column < blocksAcross; column++) {
      transform(coefficients, (row * blocksWide + column) * 64, steps, samples, (row * stride + column) * 8, stride);
    }
    if (row % (ROWS_PER_TURN / 8) === ROWS_PER_TURN / 8 - 1) {
      await nextTurn();
      signal?.throwIfAborted();
    }
  }
  return {
    samples,
    stride,
    width: Math.ceil((frame.width * h) / frame.hMax),
    height: Math.ceil((frame.height * v) / frame.vMax),
  };
}

/** Writes row `y` of the full-size image of a plane into `out`. */
type RowMaker = (y: number, out: Uint8Array) => void;

function rowMaker(plane: Plane, across: number, down: number, isFancy: boolean): RowMaker {
  const { samples, stride, width, height } = plane;
  const smooth = isFancy && width > 2;
  if (across === 1 && down === 1) {
    return (y, out) => {
      out.set(samples.subarray(y * stride, y * stride + Math.min(width, out.length)));
    };
  }
  if (smooth && across === 2 && down === 1) return (y, out) => wider(samples, y * stride, width, out);
  if (isFancy && across === 1 && down === 2) {
    return (y, out) => {
      const [near, far] = nearRows(y, height, stride);
      const bias = y % 2 === 0 ? 1 : 2;
      for (let x = 0; x < width; x++) out[x] = (samples[near + x]! * 3 + samples[far + x]! + bias) >> 2;
    };
  }
  if (smooth && across === 2 && down === 2) {
    return (y, out) => {
      const [near, far] = nearRows(y, height, stride);
      widerOfTwo(samples, near, far, width, out);
    };
  }
  return (y, out) => {
    const row = Math.floor(y / down) * stride;
    for (let x = 0; x < out.length; x++) out[x] = samples[row + Math.floor(x / across)]!;
  };
}

/** Starts of the row that holds y, and of its neighbour on y's side; the edges repeat. */
function nearRows(y: number, height: number, stride: number): [number, number] {
  const row = y >> 1;
  const other = y % 2 === 0 ? Math.max(0, row - 1) : Math.min(height - 1, row + 1);
  return [row * stride, other * stride];
}

/** Twice as wide: each result is 3/4 of the nearer sample and 1/4 of the further one. */
function wider(samples: Uint8Array, row: number, width: number, out: Uint8Array): void {
  for (let x = 0; x < width; x++) {
    const value = samples[row + x]!;
    out[2 * x] = x === 0 ? value : (value * 3 + samples[row + x - 1]! + 1) >> 2;
    out[2 * x + 1] = x === width - 1 ? value : (value * 3 + samples[row + x + 1]! + 2) >> 2;
  }
}

/** Twice as wide and high: the same over sums of two rows. */
function widerOfTwo(samples: Uint8Array, near: number, far: number, width: number, out: Uint8Array): void {
  const sum = (x: number): number => samples[near + x]! * 3 + samples[far + x]!;
  for (let x = 0; x < width; x++) {
    const value = sum(x);
    out[2 * x] = x === 0 ? (value * 4 + 8) >> 4 : (value * 3 + sum(x - 1) + 8) >> 4;
    out[2 * x + 1] = x === width - 1 ? (value * 4 + 7) >> 4 : (value * 3 + sum(x + 1) + 7) >> 4;
  }
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
  const { width, height, components } = frame;
  const channels = options.channels !== 0 ? options.channels : components.length === 1 ? 1 : 3;
  const ycc = isYcc(frame);
  check(
    channels !== 1 || components.length === 1 || (components.length === 3 && ycc),
    () => "Invalid JPEG data or crop window: a grey image of this colour space is not supported",
  );
  const used = channels === 1 ? components.slice(0, 1) : components;
  const rows: RowMaker[] = [];
  for (const component of used) {
    const [across, down] = [frame.hMax / component.h, frame.vMax / component.v];
    check(
      Number.isInteger(across) && Number.isInteger(down),
      () => "Invalid JPEG data or crop window: fractional sampling is not supported",
    );
    const plane = await planeOf(frame, component, options.isAccurate, signal);
    rows.push(rowMaker(plane, across, down, options.isFancy));
  }
  const data = new Uint8Array(width * height * channels);
  // Doubled rows may be one sample longer than the image.
  const lines = rows.map(() => new Uint8Array(width + 8 * frame.hMax));
  const inverted = frame.adobeTransform !== undefined;
  for (let y = 0; y < height; y++) {
    rows.forEach((make, c) => make(y, lines[c]!));
    const to = y * width * channels;
    if (channels === 1) data.set(lines[0]!.subarray(0, width), to);
    else if (lines.length === 1) repeatGrey(lines[0]!, data, to, width);
    else {
      if (ycc) convertYcc(lines, width);
      if (lines.length === 4) mixCmyk(lines, ycc, inverted, data, to, width);
      else interleave(lines, data, to, width);
    }
    if (y % ROWS_PER_TURN === ROWS_PER_TURN - 1) {
      await nextTurn();
      signal?.throwIfAborted();
    }
  }
  return { width, height, channels, data };
}

function repeatGrey(line: Uint8Array, data: Uint8Array, to: number, width: number): void {
  for (let x = 0; x < width; x++) data.fill(line[x]!, to + 3 * x, to + 3 * x + 3);
}

function interleave(lines: readonly Uint8Array[], data: Uint8Array, to: number, width: number): void {
  for (let x = 0, at = to; x < width; x++) for (let c = 0; c < 3; c++) data[at++] = lines[c]![x]!;
}

/** Y, Cb, Cr to R, G, B in place. */
function convertYcc(lines: readonly Uint8Array[], width: number): void {
  const [first, second, third] = lines as [Uint8Array, Uint8Array, Uint8Array];
  for (let x = 0; x < width; x++) {
    const [y, cb, cr] = [first[x]!, second[x]! - 128, third[x]! - 128];
    first[x] = clampSample(y + ((RED_CR * cr + HALF) >> 16));
    second[x] = clampSample(y + ((-GREEN_CB * cb + HALF - GREEN_CR * cr) >> 16));
    third[x] = clampSample(y + ((BLUE_CB * cb + HALF) >> 16));
  }
}

/** CMYK (of YCCK, RGB is inverted CMY) to RGB as TensorFlow does. */
function mixCmyk(
  lines: readonly Uint8Array[],
  ycc: boolean,
  inverted: boolean,
  data: Uint8Array,
  to: number,
  width: number,
): void {
  for (let x = 0, at = to; x < width; x++) {
    const k = lines[3]![x]!;
    for (let c = 0; c < 3; c++) {
      const ink = ycc ? 255 - lines[c]![x]! : lines[c]![x]!;
      data[at++] = inverted ? Math.floor((k * ink) / 255) : Math.floor(((255 - k) * (255 - ink)) / 255);
    }
  }
}
