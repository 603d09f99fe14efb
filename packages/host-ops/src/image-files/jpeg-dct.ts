/**
 * Inverse DCTs of JPEG blocks, exactly as libjpeg-turbo computes them: jidctfst.c (TensorFlow's default) and jidctint.c for blocks of
 * 8 x 8 samples, jidctred.c for images that are made smaller while they are decoded. Sums are 32 bits wide and wrap, as there.
 */

/** Samples of a block's side: 8, or fewer where the image is made smaller. */
export type BlockSize = 8 | 4 | 2 | 1;

/** Makes the samples of a block: rows of `out` are `stride` apart, the first one begins at `to`. */
type Transform = (
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8ClampedArray,
  to: number,
  stride: number,
) => void;

export interface InverseDct {
  /** What coefficients are multiplied with, in natural order. */
  readonly steps: Int32Array;
  readonly transform: Transform;
}

const SCALES = [1, 1.387039845, 1.306562965, 1.175875602, 1, 0.785694958, 0.5411961, 0.275899379];

/** @param quantization  the component's table in natural order */
export function inverseDct(quantization: Uint16Array, size: BlockSize, isAccurate: boolean): InverseDct {
  if (size === 8 && !isAccurate) return { steps: fastSteps(quantization), transform: fastDct };
  const steps = Int32Array.from(quantization);
  return { steps, transform: { 8: accurateDct, 4: dctTo4, 2: dctTo2, 1: dctTo1 }[size] };
}

/** Quantisation steps times the scale factors of the fast DCT, with 2 bits of fraction. */
function fastSteps(table: Uint16Array): Int32Array {
  return Int32Array.from(table, (step, i) => {
    const scale = Math.round(SCALES[i >> 3]! * SCALES[i & 7]! * 16384);
    return (step * scale + 2048) >> 12;
  });
}

const work = new Int32Array(64);

/** @returns whether the block holds more than its mean */
function dequantise(input: Int16Array, at: number, steps: Int32Array): boolean {
  work[0] = Math.imul(input[at]!, steps[0]!);
  let rest = 0;
  for (let i = 1; i < 64; i++) rest |= work[i] = Math.imul(input[at + i]!, steps[i]!);
  return rest !== 0;
}

/** Most rows and columns of most blocks hold nothing but their first number: the others are it. */
function spread(base: number, gap: number, value: number): void {
  for (let k = 0; k < 8; k++) work[base + k * gap] = value;
}

/** Arai, Agui and Nakajima's: 8 bits of fraction in its constants, plain right shifts. */
function fastDct(
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8ClampedArray,
  to: number,
  stride: number,
): void {
  if (!dequantise(input, at, steps)) {
    const sample = (work[0]! >> 5) + 128;
    for (let row = 0; row < 8; row++) out.fill(sample, to + row * stride, to + row * stride + 8);
    return;
  }
  for (let column = 0; column < 8; column++) fastPass(column, 8);
  for (let row = 0; row < 8; row++) {
    fastPass(row * 8, 1);
    for (let k = 0; k < 8; k++) out[to + row * stride + k] = (work[row * 8 + k]! >> 5) + 128;
  }
}

function fastPass(base: number, gap: number): void {
  const d0 = work[base]!;
  const d1 = work[base + gap]!;
  const d2 = work[base + 2 * gap]!;
  const d3 = work[base + 3 * gap]!;
  const d4 = work[base + 4 * gap]!;
  const d5 = work[base + 5 * gap]!;
  const d6 = work[base + 6 * gap]!;
  const d7 = work[base + 7 * gap]!;
  if ((d1 | d2 | d3 | d4 | d5 | d6 | d7) === 0) {
    spread(base, gap, d0);
    return;
  }
  const e10 = (d0 + d4) | 0;
  const e11 = (d0 - d4) | 0;
  const e13 = (d2 + d6) | 0;
  const e12 = ((Math.imul(d2 - d6, 362) >> 8) - e13) | 0;
  const t0 = (e10 + e13) | 0;
  const t3 = (e10 - e13) | 0;
  const t1 = (e11 + e12) | 0;
  const t2 = (e11 - e12) | 0;
  const z13 = (d5 + d3) | 0;
  const z10 = (d5 - d3) | 0;
  const z11 = (d1 + d7) | 0;
  const z12 = (d1 - d7) | 0;
  const t7 = (z11 + z13) | 0;
  const z5 = Math.imul(z10 + z12, 473) >> 8;
  const t6 = ((Math.imul(z10, -669) >> 8) + z5 - t7) | 0;
  const t5 = ((Math.imul(z11 - z13, 362) >> 8) - t6) | 0;
  const t4 = ((Math.imul(z12, 277) >> 8) - z5 + t5) | 0;
  work[base] = t0 + t7;
  work[base + gap] = t1 + t6;
  work[base + 2 * gap] = t2 + t5;
  work[base + 3 * gap] = t3 - t4;
  work[base + 4 * gap] = t3 + t4;
  work[base + 5 * gap] = t2 - t5;
  work[base + 6 * gap] = t1 - t6;
  work[base + 7 * gap] = t0 - t7;
}

/** Loeffler, Ligtenberg and Moschytz's: 13 bits of fraction in its constants, 2 between its passes, rounded. */
function accurateDct(
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8ClampedArray,
  to: number,
  stride: number,
): void {
  dequantise(input, at, steps);
  for (let column = 0; column < 8; column++) accuratePass(column, 8, 11);
  for (let row = 0; row < 8; row++) {
    accuratePass(row * 8, 1, 18);
    for (let k = 0; k < 8; k++) out[to + row * stride + k] = work[row * 8 + k]! + 128;
  }
}

/** @param shift  bits of fraction that are rounded away */
function accuratePass(base: number, gap: number, shift: number): void {
  const d0 = work[base]!;
  const d1 = work[base + gap]!;
  const d2 = work[base + 2 * gap]!;
  const d3 = work[base + 3 * gap]!;
  const d4 = work[base + 4 * gap]!;
  const d5 = work[base + 5 * gap]!;
  const d6 = work[base + 6 * gap]!;
  const d7 = work[base + 7 * gap]!;
  const half = 1 << (shift - 1);
  if ((d1 | d2 | d3 | d4 | d5 | d6 | d7) === 0) {
    spread(base, gap, (Math.imul(d0, 8192) + half) >> shift);
    return;
  }
  const even = Math.imul(d2 + d6, 4433);
  const e2 = (even - Math.imul(d6, 15137)) | 0;
  const e3 = (even + Math.imul(d2, 6270)) | 0;
  const e0 = (Math.imul(d0 + d4, 8192) + half) | 0;
  const e1 = (Math.imul(d0 - d4, 8192) + half) | 0;
  const z5 = Math.imul(d7 + d3 + d5 + d1, 9633);
  const z1 = Math.imul(d7 + d1, -7373);
  const z2 = Math.imul(d5 + d3, -20995);
  const z3 = (Math.imul(d7 + d3, -16069) + z5) | 0;
  const z4 = (Math.imul(d5 + d1, -3196) + z5) | 0;
  const t0 = (Math.imul(d7, 2446) + z1 + z3) | 0;
  const t1 = (Math.imul(d5, 16819) + z2 + z4) | 0;
  const t2 = (Math.imul(d3, 25172) + z2 + z3) | 0;
  const t3 = (Math.imul(d1, 12299) + z1 + z4) | 0;
  work[base] = (e0 + e3 + t3) >> shift;
  work[base + gap] = (e1 + e2 + t2) >> shift;
  work[base + 2 * gap] = (e1 - e2 + t1) >> shift;
  work[base + 3 * gap] = (e0 - e3 + t0) >> shift;
  work[base + 4 * gap] = (e0 - e3 - t0) >> shift;
  work[base + 5 * gap] = (e1 - e2 - t1) >> shift;
  work[base + 6 * gap] = (e1 + e2 - t2) >> shift;
  work[base + 7 * gap] = (e0 + e3 - t3) >> shift;
}

/** 4 x 4 samples of a block: the fourth frequency is left out. */
function dctTo4(
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8ClampedArray,
  to: number,
  stride: number,
): void {
  dequantise(input, at, steps);
  for (let column = 0; column < 8; column++) passTo4(column, 8, 12);
  for (let row = 0; row < 4; row++) {
    passTo4(row * 8, 1, 19);
    for (let k = 0; k < 4; k++) out[to + row * stride + k] = work[row * 8 + k]! + 128;
  }
}

function passTo4(base: number, gap: number, shift: number): void {
  const d1 = work[base + gap]!;
  const d2 = work[base + 2 * gap]!;
  const d3 = work[base + 3 * gap]!;
  const d5 = work[base + 5 * gap]!;
  const d6 = work[base + 6 * gap]!;
  const d7 = work[base + 7 * gap]!;
  const middle = Math.imul(work[base]!, 1 << 14) + (1 << (shift - 1));
  const even = Math.imul(d2, 15137) + Math.imul(d6, -6270);
  const inner = Math.imul(d7, -1730) + Math.imul(d5, 11893) + Math.imul(d3, -17799) + Math.imul(d1, 8697);
  const outer = Math.imul(d7, -4176) + Math.imul(d5, -4926) + Math.imul(d3, 7373) + Math.imul(d1, 20995);
  work[base] = (middle + even + outer) >> shift;
  work[base + gap] = (middle - even + inner) >> shift;
  work[base + 2 * gap] = (middle - even - inner) >> shift;
  work[base + 3 * gap] = (middle + even - outer) >> shift;
}

/** 2 x 2 samples of a block, of its first and its odd frequencies. */
function dctTo2(
  input: Int16Array,
  at: number,
  steps: Int32Array,
  out: Uint8ClampedArray,
  to: number,
  stride: number,
): void {
  dequantise(input, at, steps);
  for (let column = 0; column < 8; column++) passTo2(column, 8, 13);
  for (let row = 0; row < 2; row++) {
    passTo2(row * 8, 1, 20);
    for (let k = 0; k < 2; k++) out[to + row * stride + k] = work[row * 8 + k]! + 128;
  }
}

function passTo2(base: number, gap: number, shift: number): void {
  const middle = Math.imul(work[base]!, 1 << 15) + (1 << (shift - 1));
  const odd =
    Math.imul(work[base + 7 * gap]!, -5906) +
    Math.imul(work[base + 5 * gap]!, 6967) +
    Math.imul(work[base + 3 * gap]!, -10426) +
    Math.imul(work[base + gap]!, 29692);
  work[base] = (middle + odd) >> shift;
  work[base + gap] = (middle - odd) >> shift;
}

/** The mean of a block. */
function dctTo1(input: Int16Array, at: number, steps: Int32Array, out: Uint8ClampedArray, to: number): void {
  out[to] = ((Math.imul(input[at]!, steps[0]!) + 4) >> 3) + 128;
}
