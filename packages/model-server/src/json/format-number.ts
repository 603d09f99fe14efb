/**
 * Numbers as TensorFlow Serving's REST answers print them: six significant digits; where those do not read back as the
 * same value, 9 digits for float32 and 17 for float64; ".0" where there is neither point nor exponent.
 */

/** NaN, Infinity and -Infinity stand as bare tokens. */
export function formatFloat32(value: number): string {
  return formatFloat(value, 9, true);
}

/** Bytes that `writeFloat32` and `writeInteger` write at most. */
export const NUMBER_BYTES_MAX = 24;

const POWERS_OF_TEN = Float64Array.from({ length: 16 }, (_, exponent) => Number(`1e${exponent}`));
/** The scaled value of a nine-digit number is off by less than this, so nearer to a half nothing can be said. */
const ROUNDING_DOUBT = 1e-5;
const ZERO = 0x30;
const POINT = 0x2e;
const MINUS = 0x2d;

/**
 * Writes a float32 in [1e-4, 1e6) as `formatFloat32` prints it, by arithmetic and without a string.
 *
 * @returns the offset behind it; -1 when nothing was written: another magnitude, or a rounding in doubt
 */
export function writeFloat32(bytes: Uint8Array, start: number, value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude >= 1e-4 && magnitude < 1e6)) return -1;
  let exponent = magnitude >= 1 ? 0 : -1;
  if (exponent === 0) while (magnitude >= POWERS_OF_TEN[exponent + 1]!) exponent++;
  else while (magnitude * POWERS_OF_TEN[-exponent]! < 1) exponent--;

  let count = 6;
  let digits = rounded(magnitude * POWERS_OF_TEN[5 - exponent]!, 1e6);
  if (digits < 0) return -1;
  if (Math.fround(digits / POWERS_OF_TEN[5 - exponent]!) !== magnitude) {
    count = 9;
    digits = rounded(magnitude * POWERS_OF_TEN[8 - exponent]!, 1e9);
    if (digits < 0) return -1;
  }
  for (let rest = (digits / 10) | 0; rest * 10 === digits; rest = (digits / 10) | 0) {
    digits = rest;
    count--;
  }

  let at = start;
  if (value < 0) bytes[at++] = MINUS;
  if (exponent < 0) {
    bytes[at++] = ZERO;
    bytes[at++] = POINT;
    for (let zeros = -exponent - 1; zeros > 0; zeros--) bytes[at++] = ZERO;
    return writeDigits(bytes, at, digits, count);
  }
  const before = exponent + 1;
  if (count <= before) {
    at = writeDigits(bytes, at, digits, count);
    for (; count < before; count++) bytes[at++] = ZERO;
    bytes[at++] = POINT;
    bytes[at++] = ZERO;
    return at;
  }
  const scale = POWERS_OF_TEN[count - before]!;
  const whole = Math.floor(digits / scale);
  at = writeDigits(bytes, at, whole, before);
  bytes[at++] = POINT;
  return writeDigits(bytes, at, digits - whole * scale, count - before);
}

/** Writes `count` digits of an integer below 2^31, zeros in front. */
function writeDigits(bytes: Uint8Array, start: number, value: number, count: number): number {
  for (let at = start + count - 1; at >= start; at--) {
    const rest = (value / 10) | 0;
    bytes[at] = ZERO + value - rest * 10;
    value = rest;
  }
  return start + count;
}

/** Writes a safe integer in decimal; returns the offset behind it. */
export function writeInteger(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  if (value < 0) bytes[at++] = MINUS;
  let rest = Math.abs(value);
  if (rest >= 1e9) {
    const high = Math.floor(rest / 1e9);
    at = high >= 1e9 ? writeInteger(bytes, at, high) : writeDigits(bytes, at, high, digitCount(high));
    rest -= high * 1e9;
    return writeDigits(bytes, at, rest, 9);
  }
  return writeDigits(bytes, at, rest, digitCount(rest));
}

/** Of an integer below 1e9. */
function digitCount(value: number): number {
  let count = 1;
  while (count < 9 && value >= POWERS_OF_TEN[count]!) count++;
  return count;
}

/** The nearest integer, or -1 when that is in doubt or has a digit more. */
function rounded(scaled: number, limit: number): number {
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  if (Math.abs(rest - 0.5) < ROUNDING_DOUBT) return -1;
  const nearest = rest < 0.5 ? floor : floor + 1;
  return nearest < limit ? nearest : -1;
}

export function formatFloat64(value: number): string {
  return formatFloat(value, 17, false);
}

function formatFloat(value: number, fullDigits: number, isFloat32: boolean): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return Object.is(value, -0) ? "-0.0" : `${value}.0`;
  if (!Number.isFinite(value)) return String(value);
  const short = general(value, 6);
  const readBack = isFloat32 ? Math.fround(Number(short)) : Number(short);
  const text = readBack === value ? short : general(value, fullDigits);
  return text.includes(".") || text.includes("e") ? text : `${text}.0`;
}

/** C's %.*g for a finite number other than 0. */
function general(value: number, digits: number): string {
  const scientific = value.toExponential(digits - 1);
  const split = scientific.indexOf("e");
  const exponent = Number(scientific.slice(split + 1));
  if (exponent < -4 || exponent >= digits) {
    const magnitude = Math.abs(exponent);
    return `${trimmed(scientific.slice(0, split))}e${exponent < 0 ? "-" : "+"}${magnitude < 10 ? "0" : ""}${magnitude}`;
  }
  return trimmed(value.toFixed(digits - 1 - exponent));
}

/** Without the zeros at the end of a fraction. */
function trimmed(text: string): string {
  if (!text.includes(".")) return text;
  let end = text.length;
  while (text.charCodeAt(end - 1) === 0x30) end--;
  return text.slice(0, text.charCodeAt(end - 1) === 0x2e ? end - 1 : end);
}

/** Element `i` of int64 or uint64 data as a number where that is exact, else NaN; `lanes` are its halves, low first. */
export function safeInt64(lanes: Int32Array, i: number, isSigned: boolean): number {
  const low = lanes[2 * i]! >>> 0;
  const high = isSigned ? lanes[2 * i + 1]! : lanes[2 * i + 1]! >>> 0;
  return high >= -0x20_0000 && high < 0x20_0000 ? high * 0x1_0000_0000 + low : Number.NaN;
}

/** Element `i` of int64 or uint64 data, exact. */
export function formatInt64(lanes: Int32Array, i: number, isSigned: boolean): string {
  const low = lanes[2 * i]! >>> 0;
  const high = isSigned ? lanes[2 * i + 1]! : lanes[2 * i + 1]! >>> 0;
  return String((BigInt(high) << 32n) + BigInt(low));
}
