import { spawn } from "node:child_process";
import { readFileSync, rmSync, statSync } from "node:fs";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { SHARDSERVE } from "./child.js";
import { report } from "./machine.js";
import { round2 } from "./figures.js";

/**
 * `shard-export` of a synthetic DLRM against `cp` of the same bytes, alternating, each followed by a flush of what it wrote.
 * Prints seconds, their ratio and the exporter's peak resident memory.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      size: { type: "string", default: "2GiB" },
      runs: { type: "string", default: "2" },
      dir: { type: "string", default: tmpdir() },
      json: { type: "string" },
    },
  });
  const bytes = parseSize(values.size);
  const dim = 64;
  const work = await mkdtemp(join(values.dir, "shardserve-bench-export-"));
  try {
    const source = join(work, "model");
    console.log(`writing a DLRM SavedModel of ${values.size} to ${source}`);
    await writeDlrm(source, { tables: criteoKaggleRows(bytes, dim), dim, seed: 1 });
    const size = await bytesUnder(source);
    const rows: Record<string, string | number>[] = [];
    for (let run = 1; run <= Number(values.runs); run++) {
      const copied = await timed("cp", ["-r", "--sparse=never", source, join(work, "copy")], join(work, "copy"));
      const exported = await timed(
        process.execPath,
        [SHARDSERVE, "shard-export", source, `--out=${join(work, "export")}`],
        join(work, "export"),
      );
      rows.push({
        run,
        GiB: round2(size / 2 ** 30),
        "cp s": round2(copied.seconds),
        "export s": round2(exported.seconds),
        "export / cp": round2(exported.seconds / copied.seconds),
        "export peak MiB": Math.round(exported.peakBytes / 2 ** 20),
      });
    }
    report("export", rows, values.json);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Runs a command, flushes the file system that it wrote to, removes the output. */
async function timed(
  command: string,
  args: readonly string[],
  output: string,
): Promise<{ seconds: number; peakBytes: number }> {
  const startMs = performance.now();
  const peakBytes = await run(command, args);
  await run("sync", ["-f", output]);
  const seconds = (performance.now() - startMs) / 1000;
  rmSync(output, { recursive: true, force: true });
  return { seconds, peakBytes };
}

/** @returns the peak resident memory of the process, as the kernel counted it */
function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  let peakBytes = 0;
  const poll = setInterval(() => {
    try {
      const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
      peakBytes = Math.max(peakBytes, Number(kib ?? 0) * 1024);
    } catch {
      // the process has just ended; the last reading stands
    }
  }, 20);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      clearInterval(poll);
      if (code === 0) resolve(peakBytes);
      else reject(new Error(`${command} ended with ${code}`));
    });
  });
}

async function bytesUnder(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath, entry.name)).size : 0),
    0,
  );
}

function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(MiB|GiB)$/.exec(text);
  if (!match) throw new Error(`--size ${text}: write 512MiB or 20GiB`);
  return Number(match[1]) * (match[2] === "GiB" ? 2 ** 30 : 2 ** 20);
}
