/** Buckets: 0.1 ms to about 100 s, each 1.25 times the one before. */
const BUCKET_COUNT = 63;
const FIRST_MS = 0.1;
const RATIO_LOG = Math.log(1.25);
/** After this many samples all counts are halved: what is remembered is the last one to two thousand. */
const HALF_AT = 1024;

/** Recent latencies of one kind, for quantiles with an error of at most a quarter; old samples fade. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKET_COUNT);
  #total = 0;

  /** Samples that still count. */
  get count(): number {
    return this.#total;
  }

  /** @param ms  >= 0 */
  record(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.min(BUCKET_COUNT - 1, Math.ceil(Math.log(ms / FIRST_MS) / RATIO_LOG));
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#total += 1;
    if (this.#total < HALF_AT) return;
    this.#total = 0;
    for (let i = 0; i < BUCKET_COUNT; i++) {
      this.#counts[i] = this.#counts[i]! / 2;
      this.#total += this.#counts[i]!;
    }
  }

  /**
   * Upper bound of the bucket in which the quantile lies, in milliseconds; 0 without samples.
   *
   * @param share  in (0, 1]
   */
  quantileMs(share: number): number {
    const wanted = share * this.#total;
    let seen = 0;
    for (let i = 0; i < BUCKET_COUNT; i++) {
      seen += this.#counts[i]!;
      if (seen >= wanted && seen > 0) return FIRST_MS * Math.exp(i * RATIO_LOG);
    }
    return 0;
  }
}
