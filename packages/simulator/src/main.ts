// npm run sim -- [scenario ...] [--seed N] [--size large|small] [--write]
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fanOutTable, runScenarios, scenarioTable } from "./report.js";
import { LARGE, SMALL } from "./sizes.js";

/** Requests behind each line of the fan-out's table. */
const FAN_OUT_REQUESTS = 20_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "1" },
    size: { type: "string", default: "large" },
    write: { type: "boolean", default: false },
  },
});
const seed = Number(values.seed);
const size = values.size === "small" ? SMALL : LARGE;
/** What this process has worked so far: a busy machine makes nothing of it longer. */
const realMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const { rows, violations } = runScenarios({ ...size, seed, realMs }, positionals, (row) => {
  const { name, seconds, movedReplicas, leastReplicas, writeCount, imbalance, decisionMsMax } = row;
  console.log(
    `${name}: at rest after ${seconds} s; ${movedReplicas} replicas moved, least ${leastReplicas}; ${writeCount} writes; ` +
      `imbalance ${imbalance.toFixed(2)}; longest decision ${decisionMsMax.toFixed(0)} ms of processor time`,
  );
});
console.log(`\n${scenarioTable(rows)}`);
const isWhole = positionals.length === 0;
const tail = isWhole ? fanOutTable(seed, FAN_OUT_REQUESTS) : "";
if (isWhole) console.log(`\n${tail}`);
for (const text of violations) console.error(`BROKEN: ${text}`);
if (values.write && isWhole) {
  const path = fileURLToPath(new URL("../../../../docs/scale.md", import.meta.url));
  const text = readFileSync(path, "utf8")
    .replace(
      /<!-- scenarios -->[^]*<!-- \/scenarios -->/,
      () => `<!-- scenarios -->\n${scenarioTable(rows)}\n<!-- /scenarios -->`,
    )
    .replace(/<!-- fan-out -->[^]*<!-- \/fan-out -->/, () => `<!-- fan-out -->\n${tail}\n<!-- /fan-out -->`);
  writeFileSync(path, text);
}
process.exitCode = violations.length > 0 ? 1 : 0;
