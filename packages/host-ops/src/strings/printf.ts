/** C's printf for numbers, exact to the last digit: JavaScript's toFixed rounds ties up, C rounds them to even. */

export interface NumberFormat {
  /** "f" fixed, "e" scientific, "g" the shorter of both. */
  readonly kind: "f" | "e" | "g";
  /** Digits behind the point (f, e) or in all (g); -1 = 6. */
  readonly precision: number;
}

/** The magnitude of a finite number as C prints it; the sign is the caller's. */
export function formatMagnitude(magnitude: number, format: NumberFormat): string {
  const precision = format.precision < 0 ? 6 : format.precision;
  if (format.kind === "f") return fixed(magnitude, precision);
  if (format.kind === "e") return scientific(magnitude, precision);
  const digits = Math.max(precision, 1);
  const exponentText = scientific(magnitude, digits - 1);
  const exponent = Number(exponentText.slice(exponentText.indexOf("e") + 1));
  if (exponent >= -4 && exponent < digits) return withoutZeros(fixed(magnitude, digits - 1 - exponent));
  const [mantissa, power] = exponentText.split("e") as [string, string];
  return `${withoutZeros(mantissa)}e${power}`;
}

function withoutZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A double as numerator / denominator. */
function ratio(value: number): [bigint, bigint] {
  let scale = 0;
  let whole = value;
  while (!Number.isInteger(whole)) {
    whole *= 2;
    scale++;
  }
  return [BigInt(whole), 1n << BigInt(scale)];
}

/** numerator / denominator to the nearest integer, ties to even. */
function divideRounded(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  if (twice > denominator || (twice === denominator && quotient % 2n === 1n)) return quotient + 1n;
  return quotient;
}

function fixed(value: number, precision: number): string {
  // A tie needs a value with at most precision + 1 binary digits behind the point; all others toFixed rounds right.
  if (precision <= 100 && value < 1e21 && !Number.isInteger(value * 2 ** (precision + 1)))
    return value.toFixed(precision);
  const [numerator, denominator] = ratio(value);
  const digits = divideRounded(numerator * 10n ** BigInt(precision), denominator)
    .toString()
    .padStart(precision + 1, "0");
  return precision === 0 ? digits : `${digits.slice(0, -precision)}.${digits.slice(-precision)}`;
}

function scientific(value: number, precision: number): string {
  let exponent = 0;
  let digits = "0".repeat(precision + 1);
  if (value !== 0) {
    exponent = Number(value.toExponential().split("e")[1]);
    const [numerator, denominator] = ratio(value);
    const shift = precision - exponent;
    const scaled = (by: number) =>
      by >= 0
        ? divideRounded(numerator * 10n ** BigInt(by), denominator)
        : divideRounded(numerator, denominator * 10n ** BigInt(-by));
    digits = scaled(shift).toString();
    if (digits.length > precision + 1) {
      exponent++;
      digits = scaled(shift - 1).toString();
    }
  }
  const mantissa = precision === 0 ? digits : `${digits[0]}.${digits.slice(1)}`;
  const power = Math.abs(exponent).toString().padStart(2, "0");
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${power}`;
}

/**
 * Pads to a printf field width.
 *
 * @param fill  "" or " " pads left with blanks, "0" with zeros behind the sign (numbers only), "-" pads right
 */
export function padField(sign: string, body: string, width: number, fill: string, isNumber: boolean): string {
  const missing = width - sign.length - body.length;
  if (missing <= 0) return sign + body;
  if (fill === "-") return sign + body + " ".repeat(missing);
  if (fill === "0" && isNumber) return sign + "0".repeat(missing) + body;
  return " ".repeat(missing) + sign + body;
}
