/** Integrals that have names: Dawson's, the exponential one, Spence's (the dilogarithm) and Fresnel's. */

const EULER = 0.5772156649015329;

/** exp(-x^2) times the integral of exp(t^2) from 0 to x, by Rybicki's exponentially accurate sum. */
export function dawson(x: number): number {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? x : 0;
  const y = Math.abs(x);
  if (y < 0.2) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 12; n++) {
      term *= (-2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return sum;
  }
  if (y > 50) {
    const r = 1 / (2 * x * x);
    return ((1 + r * (1 + r * (3 + r * 15))) / x) * 0.5;
  }
  const step = 0.25;
  const middle = 2 * Math.round(y / (2 * step));
  let sum = 0;
  for (let odd = -29; odd <= 29; odd += 2) {
    const distance = y - (middle + odd) * step;
    sum += Math.exp(-distance * distance) / (middle + odd);
  }
  return (Math.sign(x) * sum) / Math.sqrt(Math.PI);
}

/** Ei(x) for finite x > 0; NaN elsewhere, as in TensorFlow. */
export function expint(x: number): number {
  if (x === 0) return Number.NEGATIVE_INFINITY;
  if (!(x > 0) || x === Number.POSITIVE_INFINITY) return Number.NaN;
  if (x > 700) return x > 716.3554 ? Number.POSITIVE_INFINITY : asymptoticExpint(x);
  if (x > 40) return asymptoticExpint(x);
  let term = 1;
  let sum = 0;
  for (let k = 1; k < 500; k++) {
    term *= x / k;
    sum += term / k;
    if (term / k < sum * 1e-18) break;
  }
  return EULER + Math.log(x) + sum;
}

function asymptoticExpint(x: number): number {
  let [term, sum] = [1, 1];
  for (let k = 1; k < x && term > 1e-17; k++) {
    term *= k / x;
    sum += term;
  }
  // In two factors: the power alone overflows before the quotient does.
  const half = Math.exp(x / 2);
  return (half / x) * sum * half;
}

/** The dilogarithm of 1 - x: minus the integral of log(t) / (t - 1) from 1 to x. */
export function spence(x: number): number {
  if (!(x >= 0) || x === Number.POSITIVE_INFINITY) return Number.NaN;
  if (x === 0) return Math.PI ** 2 / 6;
  if (x > 2) return -spence(1 / x) - Math.log(x) ** 2 / 2;
  if (x < 0.5) return Math.PI ** 2 / 6 - Math.log(x) * Math.log1p(-x) - spence(1 - x);
  // By Bernoulli's numbers in log(x), which converges fast around 1.
  const u = -Math.log(x);
  let sum = u - (u * u) / 4;
  let power = u;
  for (const [k, coefficient] of DILOGARITHM.entries()) {
    power *= (u * u) / ((2 * k + 2) * (2 * k + 3));
    sum += coefficient * power;
  }
  return sum;
}

/** Bernoulli's numbers B2, B4, ... */
const DILOGARITHM = [
  1 / 6,
  -1 / 30,
  1 / 42,
  -1 / 30,
  5 / 66,
  -691 / 2730,
  7 / 6,
  -3617 / 510,
  43867 / 798,
  -174611 / 330,
];

/** From here on TensorFlow answers the limit. */
const FRESNEL_FAR = 36974;

/** Fresnel's C(x) and S(x): the integrals of cos and sin of pi t^2 / 2. */
export function fresnel(value: number, kind: "C" | "S"): number {
  const x = Math.abs(value);
  if (Number.isNaN(x)) return x;
  const sign = value < 0 ? -1 : 1;
  if (x > FRESNEL_FAR) return sign * 0.5;
  return sign * (x < 2.5 ? fresnelSeries(x, kind) : fresnelFar(x, kind));
}

function fresnelSeries(x: number, kind: "C" | "S"): number {
  const angle = (Math.PI / 2) * x * x;
  let term = x;
  let sum = 0;
  for (let n = 0; n < 120; n++) {
    if (n % 2 === (kind === "C" ? 0 : 1)) sum += (n % 4 < 2 ? term : -term) / (2 * n + 1);
    term *= angle / (n + 1);
    if (term < 1e-18) break;
  }
  return sum;
}

/** By the continued fraction of the complementary error function of a complex argument, forwards (Lentz). */
function fresnelFar(x: number, kind: "C" | "S"): number {
  const square = Math.PI * x * x;
  type Complex = readonly [number, number];
  const times = ([a, b]: Complex, [c, d]: Complex): Complex => [a * c - b * d, a * d + b * c];
  const inverse = ([a, b]: Complex): Complex => [a / (a * a + b * b), -b / (a * a + b * b)];
  let b: Complex = [1, -square];
  let c: Complex = [1e300, 0];
  let d = inverse(b);
  let h = d;
  for (let k = 1; k < 200; k++) {
    const a = -(2 * k - 1) * (2 * k);
    b = [b[0] + 4, b[1]];
    d = inverse([a * d[0] + b[0], a * d[1] + b[1]]);
    const over = inverse(c);
    c = [b[0] + a * over[0], b[1] + a * over[1]];
    const change = times(c, d);
    h = times(h, change);
    if (Math.abs(change[0] - 1) + Math.abs(change[1]) < 1e-16) break;
  }
  h = times([x, -x], h);
  const angle = square / 2;
  const wave = times([Math.cos(angle), Math.sin(angle)], h);
  const result = times([0.5, 0.5], [1 - wave[0], -wave[1]]);
  return kind === "C" ? result[0] : result[1];
}
