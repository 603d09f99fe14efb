/** Special functions in double precision. */

const EULER = 0.5772156649015329;

/** zeta(k) - 1 for k = 2 ... 60, summed once. */
const ZETA_MINUS_1 = Float64Array.from({ length: 61 }, (_, k) => (k < 2 ? 0 : hurwitz(k, 2)));

/** sum over n of 1 / (q + n)^s, by Euler and Maclaurin; q > 0, s > 1. */
export function hurwitz(s: number, q: number): number {
  if (s === 1) return Number.POSITIVE_INFINITY;
  if (!(s > 1) || Number.isNaN(q)) return Number.NaN;
  if (q <= 0) {
    if (q === Math.floor(q))
      return s % 2 === 0 || s === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : Number.NaN;
    if (s !== Math.floor(s)) return Number.NaN;
  } else if (s === Number.POSITIVE_INFINITY) {
    return q > 1 ? 0 : q === 1 ? 1 : Number.POSITIVE_INFINITY;
  }
  let sum = 0;
  let at = q;
  for (let n = 0; n < 12 || at < 12; n++, at++) sum += at ** -s;
  sum += at ** (1 - s) / (s - 1) + at ** -s / 2;
  let factor = s;
  let power = at ** (-s - 1);
  for (const [k, bernoulli] of [
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
  ].entries()) {
    sum += bernoulli * factor * power;
    factor *= (s + 2 * k + 1) * (s + 2 * k + 2);
    power /= at * at;
  }
  return sum;
}

/** log |gamma(x)| */
export function lgamma(x: number): number {
  if (Number.isNaN(x)) return x;
  if (!Number.isFinite(x)) return Number.POSITIVE_INFINITY;
  if (x <= 0) {
    if (x === Math.floor(x)) return Number.POSITIVE_INFINITY;
    return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * (x - 2 * Math.floor(x / 2))))) - lgamma(1 - x);
  }
  // Around its zeros at 1 and 2 by the series, which has no cancellation there.
  if (x > 0.5 && x <= 1.5) return lgammaNearOne(x - 1);
  if (x > 1.5 && x <= 2.5) return Math.log1p(x - 2) + lgammaNearOne(x - 2);
  if (x < 12) {
    let product = 1;
    let y = x;
    if (y > 2.5) {
      for (; y > 2.5; product *= y) y--;
      return Math.log(product) + lgamma(y);
    }
    return lgamma(x + 1) - Math.log(x);
  }
  const r = 1 / (x * x);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188))))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.9189385332046728 + series;
}

/** log gamma(1 + z), |z| <= 1/2 */
function lgammaNearOne(z: number): number {
  // The part of zeta that is 1 sums up to log1p.
  let sum = 0;
  let power = -z;
  for (let k = 2; k < ZETA_MINUS_1.length; k++) {
    power *= -z;
    sum += (ZETA_MINUS_1[k]! * power) / k;
  }
  return -EULER * z + sum + (z - Math.log1p(z));
}

export function digamma(x: number): number {
  if (x === Number.NEGATIVE_INFINITY || Number.isNaN(x)) return Number.NaN;
  if (x <= 0) {
    if (x === Math.floor(x)) return Number.NaN;
    return digamma(1 - x) - Math.PI / Math.tan(Math.PI * x);
  }
  let sum = 0;
  let at = x;
  for (; at < 12; at++) sum -= 1 / at;
  const r = 1 / (at * at);
  return sum + Math.log(at) - 0.5 / at - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (1 / 132)))));
}

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  if (Math.abs(x) > 2.5) return x > 0 ? 1 - erfc(x) : erfc(-x) - 1;
  // All terms have one sign: no cancellation.
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return TWO_OVER_ROOT_PI * Math.exp(-x * x) * sum;
}

export function erfc(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < 1) return 1 - erf(x);
  if (x > 27) return 0;
  // Continued fraction, backwards.
  let fraction = 0;
  for (let n = x < 2.5 ? 160 : 80; n > 0; n--) fraction = n / 2 / (x + fraction);
  return (Math.exp(-x * x) / (x + fraction)) * (TWO_OVER_ROOT_PI / 2);
}

/** The z with a normal probability of p below it. */
export function ndtri(p: number): number {
  if (p === 0) return Number.NEGATIVE_INFINITY;
  if (p === 1) return Number.POSITIVE_INFINITY;
  if (!(p > 0 && p < 1)) return Number.NaN;
  if (p === 0.5) return 0;
  if (p > 0.5) return -ndtri(1 - p);
  // A rough start, then Newton's method on the logarithm of the tail, which is smooth.
  const t = Math.sqrt(-2 * Math.log(p));
  let z = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
  for (let i = 0; i < 6; i++) {
    const tail = erfc(-z / Math.SQRT2) / 2;
    const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
    const step = (Math.log(tail / p) * tail) / density;
    z -= step;
    if (Math.abs(step) < 1e-16 * Math.abs(z)) break;
  }
  return z;
}

/**
 * The inverse of erf, by way of {@link ndtri} as TensorFlow has it.
 *
 * @param round  to the precision in which (x + 1) / 2 is held; small x lose theirs there
 */
export function erfinv(x: number, round: (value: number) => number): number {
  return ndtri(round((x + 1) / 2)) / Math.SQRT2;
}

const STEPS_MAX = 2000;

/** Regularised lower incomplete gamma function. */
export function igamma(a: number, x: number): number {
  if (x === 0) return 0;
  if (!(a > 0) || !(x > 0)) return Number.NaN;
  return x > 1 && x > a ? 1 - igammacTail(a, x) : igammaSeries(a, x);
}

/** Regularised upper incomplete gamma function. */
export function igammac(a: number, x: number): number {
  if (!(a > 0) || !(x >= 0)) return Number.NaN;
  return x < 1 || x < a ? 1 - igammaSeries(a, x) : igammacTail(a, x);
}

function igammaSeries(a: number, x: number): number {
  if (a === Number.POSITIVE_INFINITY) return 0;
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < STEPS_MAX && term > sum * 1e-17; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return sum * Math.exp(a * Math.log(x) - x - lgamma(a));
}

function igammacTail(a: number, x: number): number {
  if (!Number.isFinite(x)) return 0;
  let b = x + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < STEPS_MAX; n++) {
    const numerator = -n * (n - a);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return h * Math.exp(a * Math.log(x) - x - lgamma(a));
}

/** Regularised incomplete beta function. */
export function betainc(a: number, b: number, x: number): number {
  if (!(a > 0) || !(b > 0) || !(x >= 0 && x <= 1)) return Number.NaN;
  if (x === 0 || x === 1) return x;
  if (x > (a + 1) / (a + b + 2)) return 1 - betainc(b, a, 1 - x);
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m < STEPS_MAX; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  const front = a * Math.log(x) + b * Math.log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b);
  return (Math.exp(front) * h) / a;
}

export function polygamma(n: number, x: number): number {
  if (n === 0) return digamma(x);
  if (n < 0 || n !== Math.floor(n)) return Number.NaN;
  return (n % 2 === 0 ? -1 : 1) * Math.exp(lgamma(n + 1)) * hurwitz(n + 1, x);
}

/** From here on the asymptotic series of the Bessel functions is as exact as doubles are. */
const BESSEL_FAR = 40;

/** Modified Bessel function of the first kind, of order 0 or 1; `isScaled`: times exp(-|x|). */
export function besselI(order: 0 | 1, x: number, isScaled: boolean): number {
  if (Number.isNaN(x)) return x;
  const size = Math.abs(x);
  // Of infinity TensorFlow answers NaN.
  const sign = order === 1 && (x < 0 || Object.is(x, -0)) ? -1 : 1;
  if (size >= BESSEL_FAR) {
    if (size === Number.POSITIVE_INFINITY) return isScaled ? sign * 0 : Number.NaN;
    const mu = 4 * order * order;
    let [sum, term] = [1, 1];
    for (let k = 1; k <= 40; k++) {
      term *= -(mu - (2 * k - 1) ** 2) / (8 * k * size);
      sum += term;
      if (Math.abs(term) < 1e-17) break;
    }
    const scaled = (sign * sum) / Math.sqrt(2 * Math.PI * size);
    // In two steps: the result may be finite where exp(x) is not.
    return isScaled ? scaled : scaled * Math.exp(size / 2) * Math.exp(size / 2);
  }
  const quarter = (size * size) / 4;
  let term = order === 0 ? 1 : size / 2;
  let sum = term;
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= quarter / (k * (k + order));
    sum += term;
  }
  return sign * sum * (isScaled ? Math.exp(-size) : 1);
}
