/**
 * Numbers as TensorFlow Serving's REST answers print them: six significant digits; where those do not read back as the
 * same value, 9 digits for float32 and 17 for float64; ".0" where there is neither point nor exponent.
 */

/** NaN, Infinity and -Infinity stand as bare tokens. */
export function formatFloat32(value: number): string {
  const magnitude = Math.abs(value);
  return (magnitude >= 1e-4 && magnitude < 1e6 && formatUsual(value, magnitude)) || formatFloat(value, 9, true);
}

const POWERS_OF_TEN = Float64Array.from({ length: 16 }, (_, exponent) => Number(`1e${exponent}`));
/** The scaled value of a nine-digit number is off by less than this, so nearer to a half nothing can be said. */
const ROUNDING_DOUBT = 1e-5;

/** A float32 in [1e-4, 1e6) by arithmetic, several times as fast; "" where rounding might differ from the exact one. */
function formatUsual(value: number, magnitude: number): string {
  let exponent = magnitude >= 1 ? 0 : -1;
  if (exponent === 0) while (magnitude >= POWERS_OF_TEN[exponent + 1]!) exponent++;
  else while (magnitude * POWERS_OF_TEN[-exponent]! < 1) exponent--;

  const short = rounded(magnitude * POWERS_OF_TEN[5 - exponent]!, 1e6);
  if (short < 0) return "";
  const isShort = Math.fround(short / POWERS_OF_TEN[5 - exponent]!) === magnitude;
  const digits = isShort ? short : rounded(magnitude * POWERS_OF_TEN[8 - exponent]!, 1e9);
  if (digits < 0) return "";
  const text = String(digits);
  const sign = value < 0 ? "-" : "";
  if (exponent < 0) return sign + trimmed(`0.${"000".slice(0, -exponent - 1)}${text}`);
  const fraction = trimmed(`.${text.slice(exponent + 1)}`);
  return `${sign}${text.slice(0, exponent + 1)}${fraction === "" ? ".0" : fraction}`;
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

/** Element `i` of int64 or uint64 data, exact; `lanes` are its 32-bit halves, low first. */
export function formatInt64(lanes: Int32Array, i: number, isSigned: boolean): string {
  const low = lanes[2 * i]! >>> 0;
  const high = isSigned ? lanes[2 * i + 1]! : lanes[2 * i + 1]! >>> 0;
  if (high >= -0x20_0000 && high < 0x20_0000) return String(high * 0x1_0000_0000 + low);
  return String((BigInt(high) << 32n) + BigInt(low));
}
