/** Functions of complex numbers, after W. Kahan, "Branch Cuts for Complex Elementary Functions". */

/** Real and imaginary part of the result of the last function that was called: none allocates. */
export const result = { real: 0, imaginary: 0 };

/** A function of a + bi; writes {@link result}. */
export type ComplexFunction = (a: number, b: number) => void;

function give(real: number, imaginary: number): void {
  result.real = real;
  result.imaginary = imaginary;
}

export const sqrt: ComplexFunction = (a, b) => {
  if (a === 0 && b === 0) return give(0, b);
  if (b === Infinity || b === -Infinity) return give(Infinity, b);
  const root = Math.sqrt((Math.abs(a) + Math.hypot(a, b)) / 2);
  if (a >= 0) give(root, b / (2 * root));
  else give(Math.abs(b) / (2 * root), b < 0 || Object.is(b, -0) ? -root : root);
};

export const log: ComplexFunction = (a, b) => give(Math.log(Math.hypot(a, b)), Math.atan2(b, a));

export const log1p: ComplexFunction = (a, b) => {
  const isNear = Math.abs(a) < 0.5 && Math.abs(b) < 0.5;
  give(isNear ? Math.log1p(a * (2 + a) + b * b) / 2 : Math.log(Math.hypot(1 + a, b)), Math.atan2(b, 1 + a));
};

export const exp: ComplexFunction = (a, b) => {
  const size = Math.exp(a);
  // exp(-inf) times a sine of anything is nothing, and a real number stays one.
  give(size * Math.cos(b), b === 0 ? b : size * Math.sin(b));
};

export const expm1: ComplexFunction = (a, b) => {
  const half = Math.sin(b / 2);
  give(Math.expm1(a) * Math.cos(b) - 2 * half * half, Math.exp(a) * Math.sin(b));
};

export const sin: ComplexFunction = (a, b) => give(Math.sin(a) * Math.cosh(b), Math.cos(a) * Math.sinh(b));
export const cos: ComplexFunction = (a, b) => give(Math.cos(a) * Math.cosh(b), -Math.sin(a) * Math.sinh(b));
export const sinh: ComplexFunction = (a, b) => give(Math.sinh(a) * Math.cos(b), Math.cosh(a) * Math.sin(b));
export const cosh: ComplexFunction = (a, b) => give(Math.cosh(a) * Math.cos(b), Math.sinh(a) * Math.sin(b));

/** From here on the hyperbolic tangent's real part is 1 in doubles. */
const TANH_FAR = 20;

export const tanh: ComplexFunction = (a, b) => {
  if (Math.abs(a) > TANH_FAR) return give(Math.sign(a), 4 * Math.sin(b) * Math.cos(b) * Math.exp(-2 * Math.abs(a)));
  const tangent = Math.tan(b);
  const beta = 1 + tangent * tangent;
  const sine = Math.sinh(a);
  const divisor = 1 + beta * sine * sine;
  give((beta * Math.sqrt(1 + sine * sine) * sine) / divisor, tangent / divisor);
};

export const tan: ComplexFunction = (a, b) => turned(tanh, a, b);

export const asin: ComplexFunction = (a, b) => {
  sqrt(1 - a, -b);
  const { real: p, imaginary: q } = result;
  sqrt(1 + a, b);
  const { real: r, imaginary: s } = result;
  give(Math.atan2(a, p * r - q * s), Math.asinh(p * s - q * r));
};

export const acos: ComplexFunction = (a, b) => {
  sqrt(1 - a, -b);
  const { real: p, imaginary: q } = result;
  sqrt(1 + a, b);
  const { real: r, imaginary: s } = result;
  give(2 * Math.atan2(p, r), Math.asinh(r * q - s * p));
};

export const acosh: ComplexFunction = (a, b) => {
  sqrt(a - 1, b);
  const { real: p, imaginary: q } = result;
  sqrt(a + 1, b);
  const { real: r, imaginary: s } = result;
  give(Math.asinh(p * r + q * s), 2 * Math.atan2(q, r));
};

export const asinh: ComplexFunction = (a, b) => turned(asin, a, b);

export const atanh: ComplexFunction = (a, b) => {
  const real = Math.log1p((4 * a) / ((1 - a) * (1 - a) + b * b)) / 4;
  give(real, Math.atan2(2 * b, (1 - a) * (1 + a) - b * b) / 2);
};

export const atan: ComplexFunction = (a, b) => turned(atanh, a, b);

/** -i f(iz): what makes a trigonometric function of a hyperbolic one, and the other way round. */
function turned(f: ComplexFunction, a: number, b: number): void {
  f(-b, a);
  give(result.imaginary, -result.real);
}

/** (a + bi) ^ (c + di) */
export function power(a: number, b: number, c: number, d: number): void {
  if (a === 0 && b === 0) return give(c === 0 && d === 0 ? 1 : 0, 0);
  log(a, b);
  const { real, imaginary } = result;
  exp(c * real - d * imaginary, c * imaginary + d * real);
}
