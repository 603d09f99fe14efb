// npm run sim -- [scenario ...] [--seed N] [--size large|small] [--write]
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fanOutTable, type Row, runScenarios, scenarioTable } from "./report.js";
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
const print = (row: Row) => {
  const { name, seconds, movedReplicas, leastReplicas, writeCount, imbalance, cost } = row;
  console.log(
    `${name}: at rest after ${seconds} s; ${movedReplicas} replicas moved, least ${leastReplicas}; ${writeCount} writes; ` +
      `imbalance ${imbalance.toFixed(2)}; longest decision ${cost.decisionMsMax.toFixed(0)} ms of processor time, ` +
      `at most ${cost.turnMsMax.toFixed(1)} ms without a turn of the event loop`,
  );
};

let rows: readonly Row[];
try {
  rows = runScenarios({ ...size, seed, realMs }, positionals, print);
} catch (error) {
  console.error(`BROKEN: ${(error as Error).message}
again: npm run sim -- ${process.argv.slice(2).join(" ")}`);
  process.exit(1);
}
console.log(`\n${scenarioTable(rows)}`);
const isWhole = positionals.length === 0;
const tail = isWhole ? fanOutTable(seed, FAN_OUT_REQUESTS) : "";
if (isWhole) console.log(`\n${tail}`);
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
