/** Latencies of one run, kept whole: a run here is at most some million requests. */
export class Latencies {
  #values = new Float64Array(1024);
  #count = 0;

  add(latencyMs: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count++] = latencyMs;
  }

  get count(): number {
    return this.#count;
  }

  /** Nearest-rank percentiles in milliseconds, `quantiles` in (0, 1]; NaN of an empty run. */
  percentiles(...quantiles: number[]): number[] {
    const sorted = this.#values.slice(0, this.#count).sort();
    return quantiles.map((quantile) => sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? Number.NaN);
  }
}
