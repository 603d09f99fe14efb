import assert from "node:assert/strict";
import fc from "fast-check";
import { eventually } from "@shardserve/testkit";
import * as prom from "prom-client";
import { EventLoopDelay } from "../src/event-loop-delay.js";
import { Counter, Histogram } from "../src/meters.js";
import { metricsPage } from "../src/metrics-page.js";

const BUCKETS = [0.001, 0.01, 0.1, 1, 10];

describe("meters", () => {
  it("show what prom-client would show", async () => {
    const observation = fc.record({
      model: fc.constantFrom("a", 'quo"ted', "new\nline"),
      version: fc.constantFrom("1", "2"),
      value: fc.oneof(fc.constantFrom(...BUCKETS, 0), fc.double({ min: 0, max: 20, noNaN: true })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(observation), async (observations) => {
        const [ours, theirs] = [new prom.Registry(), new prom.Registry()];
        const labelNames = ["model", "version"];
        const histogram = { name: "h_seconds", help: "A histogram.", labelNames, buckets: BUCKETS };
        const counter = { name: "c_total", help: "A counter.", labelNames };
        const [h, c] = [new Histogram({ ...histogram, registry: ours }), new Counter({ ...counter, registry: ours })];
        const slowH = new prom.Histogram({ ...histogram, registers: [theirs] });
        const slowC = new prom.Counter({ ...counter, registers: [theirs] });
        for (const { model, version, value } of observations) {
          h.labels(model, version).observe(value);
          c.labels(model, version).inc(value);
          slowH.observe({ model, version }, value);
          slowC.inc({ model, version }, value);
        }
        assert.deepEqual(lines(await ours.metrics()), lines(await theirs.metrics()));
      }),
      { numRuns: 50 },
    );
  });

  it("forget a series that is removed", async () => {
    const registry = new prom.Registry();
    const counter = new Counter({ name: "c_total", help: "A counter.", labelNames: ["model"], registry });
    counter.labels("a").inc();
    counter.labels("b").inc(2);
    counter.remove("a");
    assert.deepEqual((await registry.metrics()).match(/^c_total.*$/gm), ['c_total{model="b"} 2']);
    assert.equal(counter.labels("a").value, 0);
  });
});

describe("the metrics page", () => {
  it("is the one of prom-client, made in turns of the event loop that others have their turns between", async () => {
    const registry = new prom.Registry();
    const empty = { help: "Nothing \\ yet.\nReally.", registers: [registry] };
    const labelNames = ["model", "version"];
    new prom.Gauge({ name: "nothing", ...empty, labelNames });
    const meter = { help: "Of many.", labelNames, registry };
    const histogram = new Histogram({ name: "h_seconds", ...meter, buckets: BUCKETS });
    const theirs = new prom.Histogram({ name: "theirs_seconds", ...empty, labelNames, buckets: BUCKETS });
    const counter = new Counter({ name: "c_total", ...meter });
    for (let i = 0; i < 1000; i++) {
      histogram.labels(`model ${i}`, "1").observe(i / 100);
      theirs.observe({ model: `model ${i}`, version: "1" }, i / 100);
      counter.labels(`model ${i}`, "1").inc(i);
    }
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const page = await metricsPage(registry);
    isOver = true;
    assert.equal(page, await registry.metrics());
    assert.ok(turns >= 16, `17000 lines in ${turns} turns`);
  });

  it("tells the event loop's delay as a summary", async () => {
    const registry = new prom.Registry();
    const delay = new EventLoopDelay(registry);
    try {
      let total = 0;
      for (let scrape = 0; scrape < 3; scrape++) {
        const before = total;
        await eventually(async () => {
          const page = await metricsPage(registry);
          assert.match(page, /^# TYPE shardserve_event_loop_delay_seconds summary$/m);
          for (const quantile of [0.5, 0.99, 1])
            assert.match(page, new RegExp(`^\\w+{quantile="${quantile}"} [0-9.e-]+$`, "m"));
          assert.match(page, /^shardserve_event_loop_delay_seconds_sum [0-9.e-]+$/m);
          total = Number(page.match(/^shardserve_event_loop_delay_seconds_count (\d+)$/m)?.[1]);
          assert.ok(total > before, `${total} samples`);
        });
      }
    } finally {
      delay.close();
    }
  });
});

/** Series may come in any order; the labels of a line, too. */
function lines(page: string): string[] {
  return page
    .split("\n")
    .map((line) => {
      const [, name, labels, value] = line.match(/^(\w+)\{(.*)\} (\S+)$/s) ?? [];
      return name === undefined
        ? line
        : `${name}{${labels!
            .split(/,(?=\w+=")/)
            .sort()
            .join(",")}} ${value}`;
    })
    .sort();
}
