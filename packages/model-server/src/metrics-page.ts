import { setImmediate as nextTurn } from "node:timers/promises";
import { Registry } from "prom-client";

/** Lines written between two pauses: a millisecond or two. */
const SLICE_LINES = 1000;

/** A metric as prom-client reads it. */
interface Metric {
  readonly name: string;
  get(): Metrics | Promise<Metrics>;
  getForPromString?(): Metrics | Promise<Metrics>;
}

interface Metrics {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly values: Iterable<unknown>;
}

/**
 * The page that `registry.metrics()` writes, by prom-client too, but in turns of the event loop: in one piece the page of a server
 * of hundreds of models would hold up requests for tens of milliseconds.
 */
export async function metricsPage(registry: Registry): Promise<string> {
  const texts: string[] = [];
  const writer = new SliceWriter();
  for (const metric of registry.getMetricsAsArray() as unknown as readonly Metric[]) {
    const metrics = await (metric.getForPromString?.() ?? metric.get());
    texts.push((await writer.write(metrics)).join("\n"));
  }
  return `${texts.join("\n\n")}\n`;
}

class SliceWriter {
  /** Holds what is written next: a registry has no other way to write lines. */
  readonly #slice = new Registry();
  /** Lines until the next pause. */
  #left = SLICE_LINES;

  async write({ values, ...head }: Metrics): Promise<string[]> {
    const texts: string[] = [];
    let slice: unknown[] = [];
    for (const value of values) {
      slice.push(value);
      if (--this.#left > 0) continue;
      texts.push(await this.#text(head, slice, texts.length === 0));
      slice = [];
      this.#left = SLICE_LINES;
      await nextTurn();
    }
    if (slice.length > 0 || texts.length === 0) texts.push(await this.#text(head, slice, texts.length === 0));
    return texts;
  }

  async #text(head: Omit<Metrics, "values">, values: readonly unknown[], isFirst: boolean): Promise<string> {
    this.#slice.clear();
    this.#slice.registerMetric({ ...head, get: () => ({ ...head, values }) } as never);
    const text = await this.#slice.getSingleMetricAsString(head.name);
    return isFirst ? text : text.slice(text.indexOf("\n", text.indexOf("\n") + 1) + 1); // without HELP and TYPE
  }
}
