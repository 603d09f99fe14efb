import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ERRORS } from "@shardserve/core";
import { FlagTables } from "./flag-tables.js";
import { registeredMetrics } from "./metrics.js";
import { packageSources, REPO } from "./sources.js";

const TEXT = readFileSync(join(REPO, "docs/operations.md"), "utf8");

describe("docs/operations.md", () => {
  it("lists exactly the metrics that the code registers, with process, type and labels", () => {
    const rows = [
      ...TEXT.matchAll(
        /^\| `([\w:]+)` \| (executor|shard|apply) \| (counter|gauge|histogram|summary) \| ([^|]*) \| \S.*\|$/gm,
      ),
    ];
    const documented = rows.map(([, name, process, type, labels]) => [name, process, type, labels!.trim()].join(" | "));
    const registered = registeredMetrics().map(({ name, process, type, labels }) =>
      [name, process, type, labels.map((label) => `\`${label}\``).join(", ")].join(" | "),
    );
    assert.deepEqual(documented.sort(), registered.sort());
  });

  it("promises --json of every command that comes to an end, and they have it", async () => {
    const servers = ["apply", "executor", "serve", "shard", "up"];
    const tables = await FlagTables.read();
    const without = tables.commands.filter((command) => tables.unknown([command, "--json"]).length > 0);
    assert.deepEqual(without.sort(), servers);
  });

  it("knows all places where metrics are made", () => {
    const makers = packageSources()
      .filter(({ text }) =>
        /\bnew (Counter|Gauge|Histogram|Summary)\b|\.registerMetric\(this\b|collectDefaultMetrics/.test(text),
      )
      .map(({ path }) => path);
    assert.deepEqual(
      makers.sort(),
      [
        "packages/cli/src/roles/updates/update-metrics.ts",
        "packages/controller/src/metrics.ts",
        "packages/lookup/src/metrics.ts",
        "packages/model-server/src/event-loop-delay.ts",
        "packages/model-server/src/meters.ts",
        "packages/model-server/src/metrics.ts",
        "packages/shard/src/epoch-metrics.ts",
        "packages/shard/src/metrics.ts",
      ],
      "a new one belongs to registeredMetrics() in test/structure/metrics.ts too",
    );
  });

  it("names error codes that exist", () => {
    const codes = [...TEXT.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1]!);
    const ENVIRONMENT = /^(UV|SHARDSERVE|MODEL|NODE)_/;
    assert.deepEqual(
      codes.filter((code) => !(code in ERRORS) && !ENVIRONMENT.test(code)),
      [],
    );
  });
});
