/** The middle of the values, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

/** To two decimals: what a figure of a shared machine is worth. */
export function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
