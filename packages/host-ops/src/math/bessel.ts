/** Bessel functions of the first and second kind and modified ones of the second kind, orders 0 and 1, in double precision. */

const EULER = 0.5772156649015329;

/** From here on Hankel's expansion has all digits. */
const FAR = 30;

/** Below this the first term of a series has all digits. */
const TINY = 1e-8;

/** J_0(x), J_1(x), ... for {@link TINY} <= x < {@link FAR}, by Miller's backward recurrence, normalised by 1 = J_0 + 2 J_2 + 2 J_4 + ... */
function besselJs(x: number): Float64Array {
  const count = 2 * Math.ceil((x + 30 + 8 * Math.cbrt(x)) / 2);
  const values = new Float64Array(count + 2);
  values[count] = 1e-280;
  let sum = 0;
  for (let k = count; k > 0; k--) {
    const value = ((2 * k) / x) * values[k]! - values[k + 1]!;
    values[k - 1] = value;
    if (Math.abs(value) > 1e200) {
      for (let i = k - 1; i < values.length; i++) values[i] = values[i]! * 1e-300;
      sum *= 1e-300;
    }
    if (k % 2 === 1) sum += k === 1 ? values[0]! : 2 * values[k - 1]!;
  }
  for (let k = 0; k < values.length; k++) values[k] = values[k]! / sum;
  return values;
}

/** Hankel's expansion for large x: J is (p cos - q sin) and Y (p sin + q cos), each times sqrt(2 / (pi x)). */
function hankel(order: 0 | 1, x: number, kind: "J" | "Y"): number {
  const mu = 4 * order * order;
  let [p, q, term] = [1, 0, 1];
  for (let k = 1; k < 60; k++) {
    const next = (term * (mu - (2 * k - 1) ** 2)) / (k * 8 * x);
    if (Math.abs(next) > Math.abs(term) || next === 0) break;
    term = next;
    if (k % 2 === 1) q += k % 4 === 1 ? term : -term;
    else p += k % 4 === 0 ? term : -term;
  }
  // The phase x - (order / 2 + 1 / 4) pi, without the loss of a subtraction.
  const [s, c] = [Math.sin(x), Math.cos(x)];
  const [cosine, sine] = order === 0 ? [c + s, s - c] : [s - c, -s - c];
  return (kind === "J" ? p * cosine - q * sine : p * sine + q * cosine) / Math.sqrt(Math.PI * x);
}

export function besselJ(order: 0 | 1, value: number): number {
  const x = Math.abs(value);
  // TensorFlow has no limit at infinity.
  if (!Number.isFinite(x)) return Number.NaN;
  if (x < TINY) return order === 0 ? 1 : value / 2;
  const sign = order === 1 && value < 0 ? -1 : 1;
  return sign * (x >= FAR ? hankel(order, x, "J") : besselJs(x)[order]!);
}

/** By Neumann's series over the functions of the first kind. */
export function besselY(order: 0 | 1, x: number): number {
  if (x <= 0) return Number.NEGATIVE_INFINITY;
  if (!Number.isFinite(x)) return Number.NaN;
  if (x >= FAR) return hankel(order, x, "Y");
  if (x < TINY) return order === 0 ? (2 * (Math.log(x / 2) + EULER)) / Math.PI : -2 / (Math.PI * x);
  const js = besselJs(x);
  const log = Math.log(x / 2) + EULER;
  let sum = 0;
  for (let k = 1; 2 * k + order < js.length; k++) {
    const weight = order === 0 ? 1 / k : (2 * k + 1) / (k * (k + 1));
    sum += (k % 2 === 0 ? weight : -weight) * js[2 * k + order]!;
  }
  if (order === 0) return (2 * (log * js[0]! - 2 * sum)) / Math.PI;
  return (2 * ((log - 1) * js[1]! - js[0]! / x - sum)) / Math.PI;
}

const STEP = 1 / 8;

/**
 * K_order(x), times e^x if `isScaled`: the integral of exp(-x cosh t) cosh(order t) over t > 0 by the trapezoidal rule, whose
 * error falls with exp(-pi^2 / step).
 */
export function besselK(order: 0 | 1, x: number, isScaled: boolean): number {
  if (x <= 0) return Number.POSITIVE_INFINITY;
  if (!Number.isFinite(x)) return Number.isNaN(x) ? x : 0;
  const term = (t: number): number => {
    const half = Math.sinh(t / 2);
    return Math.exp(-2 * x * half * half) * (order === 0 ? 1 : Math.cosh(t));
  };
  // The bulk narrows as 1 / sqrt(x).
  const step = STEP * Math.min(1, 4 / Math.sqrt(x));
  let sum = 0.5;
  for (let k = 1; ; k++) {
    const value = term(k * step);
    sum += value;
    if (value <= sum * 1e-18) break;
  }
  return sum * step * (isScaled ? 1 : Math.exp(-x));
}
