import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";

/** What a recorded figure must come with. */
export function machine(): Record<string, string | number> {
  const commit = (() => {
    try {
      return execFileSync("git", ["rev-parse", "--short", "HEAD"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }).trim();
    } catch {
      return "unknown"; // an unpacked archive has no history
    }
  })();
  return {
    date: new Date().toISOString().slice(0, 10),
    commit,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    // Above the number of cores, others took part of the machine: trust ratios of one line, and those not to the last digit.
    loadAverage: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  };
}

/** Prints the result lines and, where `--json FILE` was given, writes them with the machine. */
export function report(
  name: string,
  rows: readonly Record<string, string | number>[],
  jsonPath: string | undefined,
): void {
  console.table(rows);
  if (jsonPath)
    writeFileSync(jsonPath, `${JSON.stringify({ benchmark: name, machine: machine(), rows }, undefined, 1)}\n`);
}
