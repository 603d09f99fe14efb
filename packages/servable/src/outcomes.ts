/** Quantile bounds grow by this factor: a quantile is known to within 9 %. */
const GROWTH = 2 ** (1 / 8);
/** Lower bound of the second bucket, in milliseconds; the last one ends at about 68 s. */
const FIRST_MS = 0.05;
const BUCKETS = 164;

class Window {
  readonly startMs: number;
  readonly buckets = new Uint32Array(BUCKETS);
  timed = 0;
  requests = 0;
  errors = 0;

  constructor(startMs: number) {
    this.startMs = startMs;
  }
}

/** What a version made of its requests lately: the last full window and the one that runs. */
export interface OutcomeSummary {
  readonly requests: number;
  readonly errors: number;
  /** Requests whose time was taken. */
  readonly timed: number;
  /** 99th percentile of their time, in milliseconds; NaN when there are none. */
  readonly p99Ms: number;
}

/** Counts a version's requests in windows that follow one another only while requests come: an idle version keeps its last ones. */
export class Outcomes {
  readonly #windowMs: number;
  #last: Window | undefined;
  #current: Window | undefined;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** @param durationMs  undefined = not to be counted among the times, as of an error or of a cold start */
  record(nowMs: number, isError: boolean, durationMs: number | undefined): void {
    if (!this.#current || nowMs - this.#current.startMs >= this.#windowMs) {
      this.#last = this.#current;
      this.#current = new Window(nowMs);
    }
    const window = this.#current;
    window.requests++;
    if (isError) window.errors++;
    if (durationMs === undefined) return;
    window.timed++;
    const bucket = Math.ceil(Math.log(Math.max(durationMs, FIRST_MS) / FIRST_MS) / Math.log(GROWTH));
    window.buckets[Math.min(bucket, BUCKETS - 1)]!++;
  }

  summary(): OutcomeSummary {
    const windows = [this.#last, this.#current].filter((window) => window !== undefined);
    const sum = (of: (window: Window) => number) => windows.reduce((total, window) => total + of(window), 0);
    const timed = sum((window) => window.timed);
    let left = Math.ceil(timed * 0.99);
    let p99Ms = Number.NaN;
    for (let bucket = 0; bucket < BUCKETS && left > 0; bucket++) {
      left -= sum((window) => window.buckets[bucket]!);
      p99Ms = FIRST_MS * GROWTH ** bucket;
    }
    return { requests: sum((window) => window.requests), errors: sum((window) => window.errors), timed, p99Ms };
  }
}
