import assert from "node:assert/strict";
import fc from "fast-check";
import * as prom from "prom-client";
import { Counter, Histogram } from "../src/meters.js";

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
