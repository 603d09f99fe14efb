import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Registry } from "prom-client";

/** Sampling period. */
const RESOLUTION_MS = 10;
const QUANTILES = [0.5, 0.99, 1];

/** How late the event loop is with its timers, as a Prometheus summary: quantiles since the last scrape, sum and count since the start. */
export class EventLoopDelay {
  readonly name = "shardserve_event_loop_delay_seconds";
  readonly help = "Delay of the event loop: quantiles since the last scrape.";
  readonly type = "summary";
  readonly labelNames = ["quantile"];
  readonly aggregator = "sum";
  readonly #recent = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #sum = 0;
  #count = 0;

  constructor(registry: Registry) {
    // prom-client declares its own classes only; what it calls is `get`.
    registry.registerMetric(this as never);
    this.#recent.enable();
  }

  get() {
    const { name, help, type, aggregator } = this;
    const recent = this.#recent;
    if (recent.count > 0) this.#sum += seconds(recent.mean) * recent.count;
    this.#count += recent.count;
    const quantiles = QUANTILES.map((quantile) => ({
      labels: { quantile },
      value: recent.count > 0 ? seconds(recent.percentile(quantile * 100)) : 0,
    }));
    recent.reset();
    const totals = [
      { metricName: `${name}_sum`, labels: {}, value: this.#sum },
      { metricName: `${name}_count`, labels: {}, value: this.#count },
    ];
    return { name, help, type, aggregator, values: [...quantiles, ...totals] };
  }

  close(): void {
    this.#recent.disable();
  }
}

/** @param ns  between two samples */
function seconds(ns: number): number {
  return Math.max(ns / 1e6 - RESOLUTION_MS, 0) / 1000;
}
