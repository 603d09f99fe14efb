/**
 * Hue and saturation of float32 pixels, by the steps of TensorFlow's CPU kernels (core/kernels/image/adjust_hue_op.cc,
 * adjust_saturation_op.cc), which are not those of its RGBToHSV: every intermediate result is rounded as theirs, because a
 * pixel that is cast to uint8 afterwards shows the last bit.
 */
const { abs, floor, fround, trunc } = Math;

/** A colour circle of six sides: its side is what the largest and the smallest channel are. */
const SIDES = 6;
const RED = 0;
const GREEN = 1;
const BLUE = 2;
/** By side: where the largest, the middle and the smallest channel lie. */
const LARGEST = Int32Array.of(RED, GREEN, GREEN, BLUE, BLUE, RED);
const MIDDLE = Int32Array.of(GREEN, RED, BLUE, GREEN, RED, BLUE);
const SMALLEST = Int32Array.of(BLUE, BLUE, RED, RED, GREEN, GREEN);
/** Beyond every side, where what is no number lies too: TensorFlow converts it to the smallest integer. */
const NO_SIDE = -1;

function sideOf(hue: number): number {
  return hue > -1 && hue < SIDES ? trunc(hue) : NO_SIDE;
}

function sideOfColour(red: number, green: number, blue: number): number {
  if (red < green) {
    if (blue < red) return 1;
    return blue > green ? 3 : 2;
  }
  if (blue < green) return 0;
  return blue > red ? 4 : 5;
}

/** The position on the circle, within [0, 6): whole turns come off exactly, and only what is brought above 0 is rounded. */
function withinCircle(position: number): number {
  if (position >= 0 && position < SIDES) return position;
  const within = fround(position - SIDES * floor(position / SIDES));
  return within >= SIDES ? 0 : within;
}

/**
 * Turns the colour circle by `delta` of a whole turn.
 *
 * @param pixels  red, green and blue of each pixel
 */
export function turnHues(pixels: Float32Array, delta: number): Float32Array {
  const out = new Float32Array(pixels.length);
  const turn = fround(delta * SIDES);
  for (let at = 0; at < pixels.length; at += 3) {
    const side = sideOfColour(pixels[at]!, pixels[at + 1]!, pixels[at + 2]!);
    const largest = pixels[at + LARGEST[side]!]!;
    const smallest = pixels[at + SMALLEST[side]!]!;
    const range = fround(largest - smallest);
    let position = 0;
    if (largest !== smallest) {
      const ratio = fround(fround(pixels[at + MIDDLE[side]!]! - smallest) / range);
      position = fround(side + (side % 2 === 0 ? ratio : fround(1 - ratio)));
    }
    position = withinCircle(fround(position + turn));
    const known = sideOf(position);
    const way = fround(position - known);
    const part = known % 2 === 0 ? way : fround(1 - way);
    const turned = known === NO_SIDE ? SIDES - 1 : known;
    out[at + LARGEST[turned]!] = largest;
    out[at + MIDDLE[turned]!] = smallest + fround(part * range);
    out[at + SMALLEST[turned]!] = smallest;
  }
  return out;
}

/** As C++ chooses: the first unless the second is larger, or smaller. */
function larger(a: number, b: number): number {
  return a < b ? b : a;
}

function smaller(a: number, b: number): number {
  return b < a ? b : a;
}

/** Position of a colour on the circle, in turns. */
function hueOf(red: number, green: number, blue: number, value: number, range: number): number {
  if (range <= 0) return 0;
  const norm = fround(1 / fround(6 * range));
  let hue: number;
  if (red === value) hue = fround(norm * fround(green - blue));
  else if (green === value) hue = fround(fround(norm * fround(blue - red)) + 2 / 6);
  else hue = fround(fround(norm * fround(red - green)) + 4 / 6);
  return hue < 0 ? fround(hue + 1) : hue;
}

/** Multiplies the saturation of each pixel, red, green and blue, and keeps it within [0, 1]. */
export function scaleSaturations(pixels: Float32Array, scale: number): Float32Array {
  const out = new Float32Array(pixels.length);
  for (let at = 0; at < pixels.length; at += 3) {
    const red = pixels[at]!;
    const green = pixels[at + 1]!;
    const blue = pixels[at + 2]!;
    const value = larger(red, larger(green, blue));
    const range = fround(value - smaller(red, smaller(green, blue)));
    const saturation = value > 0 ? fround(range / value) : 0;
    const position = fround(hueOf(red, green, blue, value, range) * SIDES);
    const chroma = fround(smaller(1, larger(0, fround(saturation * scale))) * value);
    const least = fround(value - chroma);
    const side = sideOf(position);
    if (side === NO_SIDE) {
      // A hue that rounding takes to a whole turn is no side of TensorFlow's either: such a pixel turns grey.
      out[at] = out[at + 1] = out[at + 2] = least;
      continue;
    }
    const way = abs(fround(position - (side & ~1) - 1));
    out[at + LARGEST[side]!] = fround(chroma + least);
    out[at + MIDDLE[side]!] = fround(fround(chroma * fround(1 - way)) + least);
    out[at + SMALLEST[side]!] = least;
  }
  return out;
}
