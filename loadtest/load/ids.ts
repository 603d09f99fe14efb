import type { Random } from "@shardserve/core";

/** Draws row ids of one table. */
export type IdSource = () => number;

export function uniformIds(rows: number, random: Random): IdSource {
  return () => Math.floor(random.next() * rows);
}

/**
 * Zipf-distributed ranks by rejection-inversion (Hörmann and Derflinger 1996), scrambled over the id space, so that hot
 * rows are not neighbours: real ids are not sorted by popularity.
 */
export function zipfIds(rows: number, exponent: number, random: Random): IdSource {
  const oneMinus = 1 - exponent;
  const integral = (x: number) => (oneMinus === 0 ? Math.log(x) : (x ** oneMinus - 1) / oneMinus);
  const inverse = (y: number) => (oneMinus === 0 ? Math.exp(y) : (1 + y * oneMinus) ** (1 / oneMinus));
  const low = integral(1.5) - 1;
  const high = integral(rows + 0.5);
  const scramble = scrambler(rows);
  return () => {
    for (;;) {
      const u = high + random.next() * (low - high);
      const x = inverse(u);
      const rank = Math.min(rows, Math.max(1, Math.round(x)));
      if (rank - x <= 0.5 || u >= integral(rank + 0.5) - rank ** -exponent) return scramble(rank - 1);
    }
  };
}

/** A bijection of [0, rows): multiplication by a unit modulo rows. */
function scrambler(rows: number): (rank: number) => number {
  let factor = Math.max(1, Math.floor(rows * 0.6180339887)) % 0x7fffff;
  while (factor > 1 && gcd(factor, rows) !== 1) factor--;
  return (rank) => (rank * factor) % rows;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
