import type { Registry } from "prom-client";

/**
 * Counters and histograms for what is counted several times in each request. prom-client resolves labels to a text key at
 * every observation, about a tenth of a small request; here a series is looked up once and then is plain numbers, and
 * label sets are made when the page is read. They register like prom-client's own and show the same lines.
 */

interface Line {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
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
  readonly #series = new Map<string, { readonly labels: Readonly<Record<string, string>>; readonly series: S }>();

  constructor({ name, help, labelNames, registry }: MeterOptions) {
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    // prom-client declares its own classes only; what it calls is `get`.
    registry.registerMetric(this as never);
  }

  abstract readonly type: string;
  protected abstract make(): S;
  protected abstract lines(labels: Readonly<Record<string, string>>, series: S): readonly Line[];

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

  get(): { name: string; help: string; type: string; aggregator: string; values: readonly Line[] } {
    const values = [...this.#series.values()].flatMap(({ labels, series }) => this.lines(labels, series));
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
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

  protected lines(labels: Readonly<Record<string, string>>, { value }: CounterSeries): readonly Line[] {
    return [{ labels, value }];
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

  /** @param options.buckets  upper bounds, ascending; +Inf is added */
  constructor({ buckets, ...options }: MeterOptions & { readonly buckets: readonly number[] }) {
    super(options);
    this.#bounds = Float64Array.from(buckets);
  }

  protected make(): HistogramSeries {
    return new HistogramSeries(this.#bounds);
  }

  /** A series that nobody has observed is not shown. */
  protected lines(labels: Readonly<Record<string, string>>, series: HistogramSeries): readonly Line[] {
    if (series.count === 0) return [];
    const bucket = `${this.name}_bucket`;
    let total = 0;
    const lines: Line[] = Array.from(this.#bounds, (le, i) => {
      total += series.counts[i]!;
      return { metricName: bucket, labels: { le, ...labels }, value: total };
    });
    lines.push(
      { metricName: bucket, labels: { le: "+Inf", ...labels }, value: series.count },
      { metricName: `${this.name}_sum`, labels, value: series.sum },
      { metricName: `${this.name}_count`, labels, value: series.count },
    );
    return lines;
  }
}
