/** Samples of a JPEG's components, and their rows at the size of the image: libjpeg-turbo's "fancy" upsampling, or repetition. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import { check, invalid } from "../call/errors.js";
import { type BlockSize, inverseDct } from "./jpeg-dct.js";
import type { JpegFrame } from "./jpeg-frame.js";
import type { JpegComponent } from "./jpeg-scan.js";

/** Samples that are made between two turns of the event loop: about 2 ms. */
export const SAMPLES_PER_TURN = 1 << 17;

export interface PlaneOptions {
  /** Chroma is interpolated, not repeated. */
  readonly isFancy: boolean;
  readonly isAccurate: boolean;
  /** Samples to a side of the blocks of the component that has most of them: the image is made 8 / size times smaller. */
  readonly size: BlockSize;
  /** Columns of the smaller image that rows are made of; they begin with a block. */
  readonly columns: { readonly start: number; readonly width: number };
}

/** Samples of one component at its own resolution; rows are `stride` apart, and begin with the first wanted column. */
interface Plane {
  readonly samples: Uint8ClampedArray;
  readonly stride: number;
  readonly width: number;
  readonly height: number;
}

/** Writes row `y` of the full-size image of a plane into `out`. */
export type RowMaker = (y: number, out: Uint8ClampedArray) => void;

/** Makes a component's samples, and what gives their rows. */
export async function componentRows(
  frame: JpegFrame,
  component: JpegComponent,
  options: PlaneOptions,
  signal?: CancelSignal,
): Promise<RowMaker> {
  const size = blockSize(frame, component, options.size);
  const across = (frame.hMax * options.size) / (component.h * size);
  const down = (frame.vMax * options.size) / (component.v * size);
  check(
    Number.isInteger(across) && Number.isInteger(down),
    () => "Invalid JPEG data or crop window: fractional sampling is not supported",
  );
  const whole = await planeOf(frame, component, size, options.isAccurate, signal);
  const { start, width } = options.columns;
  const plane = { ...whole, samples: whole.samples.subarray(start / across), width: Math.ceil(width / across) };
  // As libjpeg: a sample a block is not enough to interpolate, nor are two columns.
  const isFancy = options.isFancy && options.size > 1;
  return rowMaker(plane, across, down, isFancy, isFancy && whole.width > 2 && plane.width > 1);
}

/** A component of less resolution is made smaller by less, as far as it is less both across and down. */
function blockSize(frame: JpegFrame, { h, v }: JpegComponent, smallest: BlockSize): BlockSize {
  let size = smallest;
  while (size < 8 && (frame.hMax * smallest) % (h * size * 2) === 0 && (frame.vMax * smallest) % (v * size * 2) === 0) {
    size = (size * 2) as BlockSize;
  }
  return size;
}

async function planeOf(
  frame: JpegFrame,
  component: JpegComponent,
  size: BlockSize,
  isAccurate: boolean,
  signal?: CancelSignal,
): Promise<Plane> {
  const { quantization, blocksWide, blocksHigh, blocksDown, blocksAcross, coefficients, h, v } = component;
  if (!quantization) throw invalid("Invalid JPEG data or crop window: a quantization table is missing");
  const stride = blocksWide * size;
  const samples = new Uint8ClampedArray(stride * blocksHigh * size);
  const { steps, transform } = inverseDct(quantization, size, isAccurate);
  let untilTurn = SAMPLES_PER_TURN;
  for (let row = 0; row < blocksDown; row++) {
    for (let column = 0; column < blocksAcross; column++) {
      transform(coefficients, (row * blocksWide + column) * 64, steps, samples, (row * stride + column) * size, stride);
    }
    untilTurn -= blocksAcross * 64;
    if (untilTurn <= 0) {
      untilTurn = SAMPLES_PER_TURN;
      await nextTurn();
      signal?.throwIfAborted();
    }
  }
  return {
    samples,
    stride,
    width: Math.ceil((frame.width * h * size) / (frame.hMax * 8)),
    height: Math.ceil((frame.height * v * size) / (frame.vMax * 8)),
  };
}

/** @param isSmooth  whether columns are interpolated, and not rows alone */
function rowMaker(plane: Plane, across: number, down: number, isFancy: boolean, isSmooth: boolean): RowMaker {
  const { samples, stride, width, height } = plane;
  if (across === 1 && down === 1) {
    return (y, out) => {
      out.set(samples.subarray(y * stride, y * stride + Math.min(width, out.length)));
    };
  }
  if (isSmooth && across === 2 && down === 1) return (y, out) => wider(samples, y * stride, width, out);
  if (isFancy && across === 1 && down === 2) {
    return (y, out) => {
      const [near, far] = nearRows(y, height, stride);
      const bias = y % 2 === 0 ? 1 : 2;
      for (let x = 0; x < width; x++) out[x] = (samples[near + x]! * 3 + samples[far + x]! + bias) >> 2;
    };
  }
  if (isSmooth && across === 2 && down === 2) {
    return (y, out) => {
      const [near, far] = nearRows(y, height, stride);
      widerOfTwo(samples, near, far, width, out);
    };
  }
  return (y, out) => {
    const row = Math.floor(y / down) * stride;
    for (let x = 0; x < width; x++) out.fill(samples[row + x]!, x * across, (x + 1) * across);
  };
}

/** Starts of the row that holds y, and of its neighbour on y's side; the edges repeat. */
function nearRows(y: number, height: number, stride: number): [number, number] {
  const row = y >> 1;
  const other = y % 2 === 0 ? Math.max(0, row - 1) : Math.min(height - 1, row + 1);
  return [row * stride, other * stride];
}

/** Twice as wide: each result is 3/4 of the nearer sample and 1/4 of the further one, at the edges all of the nearer one. */
function wider(samples: Uint8ClampedArray, row: number, width: number, out: Uint8ClampedArray): void {
  let before = samples[row]!;
  let value = before;
  for (let x = 0; x < width; x++) {
    const after = x === width - 1 ? value : samples[row + x + 1]!;
    out[2 * x] = (value * 3 + before + 1) >> 2;
    out[2 * x + 1] = (value * 3 + after + 2) >> 2;
    before = value;
    value = after;
  }
}

/** Twice as wide and high: the same over sums of two rows. */
function widerOfTwo(
  samples: Uint8ClampedArray,
  near: number,
  far: number,
  width: number,
  out: Uint8ClampedArray,
): void {
  let before = samples[near]! * 3 + samples[far]!;
  let value = before;
  for (let x = 0; x < width; x++) {
    const after = x === width - 1 ? value : samples[near + x + 1]! * 3 + samples[far + x + 1]!;
    out[2 * x] = (value * 3 + before + 8) >> 4;
    out[2 * x + 1] = (value * 3 + after + 7) >> 4;
    before = value;
    value = after;
  }
}
