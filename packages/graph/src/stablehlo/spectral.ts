import { attr } from "@shardserve/savedmodel";
import type { Translate } from "./translation.js";

/** By number of VHLO's FftType. */
const TRANSFORMS = ["FFT", "IFFT", "RFFT", "IRFFT"];

/** Fourier transforms of the last one to three dimensions. */
const fft: Translate = (t) => {
  const transform = TRANSFORMS[t.attrs.enum("fft_type")] ?? t.fail("an unknown transform");
  const lengths = t.attrs.ints("fft_length");
  const suffix = ["", "2D", "3D"][lengths.length - 1] ?? t.fail(`transforms of ${lengths.length} dimensions`);
  const x = t.in(0);
  const result = t.resultDType();
  if (transform === "RFFT") {
    return [t.emit(`RFFT${suffix}`, [x, t.b.ints(lengths)], { Tcomplex: attr.type(result) })];
  }
  if (transform === "IRFFT") {
    return [t.emit(`IRFFT${suffix}`, [x, t.b.ints(lengths)], { Treal: attr.type(result) })];
  }
  return [t.emit(`${transform}${suffix}`, [x])];
};

export const SPECTRAL: Readonly<Record<string, Translate>> = { fft };
