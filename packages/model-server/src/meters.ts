import type { Registry } from "prom-client";

/**
 * Counters and histograms for what is counted several times in each request. prom-client resolves labels to a text key at
 * every observation, about a tenth of a small request; here a series is looked up once and then is plain numbers, and
 * label sets are made when the page is read. They register like prom-client's own and show the same lines.
 */

type Labels = Readonly<Record<string, string | number>>;

interface Line {
  readonly metricName?: string;
  /** Of this line alone. */
  readonly labels?: Labels;
  /** Of the series: prom-client makes their text once. */
  readonly sharedLabels: Labels;
  readonly value: number;
}

interface Page {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly aggregator: string;
  readonly values: Iterable<Line>;
}

export interface MeterOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly registry: Registry;
}

abstract class Meter<S> {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly aggregator = "sum";
  readonly #series = new Map<string, { readonly labels: Labels; readonly series: S }>();

  constructor({ name, help, labelNames, registry }: MeterOptions) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    // prom-client declares its own classes only; what it calls is `getForPromString`.
    registry.registerMetric(this as never);
  }

  abstract readonly type: string;
  protected abstract make(): S;
  protected abstract lines(sharedLabels: Labels, series: S): readonly Line[];

  /** The series of these label values, in the order of `labelNames`; to be kept by whoever counts often. */
  labels(...values: readonly string[]): S {
    const key = values.join("\0");
    let entry = this.#series.get(key);
    if (!entry) {
      const labels = Object.fromEntries(this.labelNames.map((name, i) => [name, values[i]!]));
      entry = { labels, series: this.make() };
      this.#series.set(key, entry);
    }
    return entry.series;
  }

  /** Forgets a series: what still counts in it is not shown any more. */
  remove(...values: readonly string[]): void {
    this.#series.delete(values.join("\0"));
  }

  /** Lines are made as they are read: thousands in one piece would hold up the event loop. */
  getForPromString(): Page {
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: this.#lines() };
  }

  *#lines(): Generator<Line, void> {
    for (const { labels, series } of this.#series.values()) yield* this.lines(labels, series);
  }
}

export class CounterSeries {
  value = 0;

  inc(by = 1): void {
    this.value += by;
  }
}

export class Counter extends Meter<CounterSeries> {
  readonly type = "counter";

  protected make(): CounterSeries {
    return new CounterSeries();
  }

  protected lines(sharedLabels: Labels, { value }: CounterSeries): readonly Line[] {
    return [{ sharedLabels, value }];
  }
}

export class HistogramSeries {
  readonly #bounds: Float64Array;
  /** Observations by bucket; those above the last bound are only in `count`. */
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  constructor(bounds: Float64Array) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length);
  }

  observe(value: number): void {
    this.sum += value;
    this.count++;
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= bounds[middle]!) high = middle;
      else low = middle + 1;
    }
    if (low < bounds.length) this.counts[low]!++;
  }
}

export class Histogram extends Meter<HistogramSeries> {
  readonly type = "histogram";
  readonly #bounds: Float64Array;
  readonly #bucketLabels: readonly Labels[];

  /** @param options.buckets  upper bounds, ascending; +Inf is added */
  constructor({ buckets, ...options }: MeterOptions & { readonly buckets: readonly number[] }) {
    super(options);
    this.#bounds = Float64Array.from(buckets);
    this.#bucketLabels = buckets.map((le) => ({ le }));
  }

  protected make(): HistogramSeries {
    return new HistogramSeries(this.#bounds);
  }

  /** A series that nobody has observed is not shown. */
  protected lines(sharedLabels: Labels, series: HistogramSeries): readonly Line[] {
    if (series.count === 0) return [];
    const metricName = `${this.name}_bucket`;
    let total = 0;
    const lines: Line[] = this.#bucketLabels.map((labels, i) => {
      total += series.counts[i]!;
      return { metricName, labels, sharedLabels, value: total };
    });
    lines.push(
      { metricName, labels: INFINITE, sharedLabels, value: series.count },
      { metricName: `${this.name}_sum`, sharedLabels, value: series.sum },
      { metricName: `${this.name}_count`, sharedLabels, value: series.count },
    );
    return lines;
  }
}

const INFINITE = { le: "+Inf" };
