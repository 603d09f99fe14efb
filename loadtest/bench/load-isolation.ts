import { linkSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { REPO_DIR } from "@shardserve/testkit";
import { Latencies } from "../load/histogram.js";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { Child, SHARDSERVE } from "./child.js";
import { report } from "./machine.js";

const DIM = 64;
/** Dense layers that are large too: the engine reads and packs them. */
const LAYERS = { bottom: [2048, 2048, DIM], top: [2048, 2048, 1] };
const POLL_MS = 20;
/** About as long as a load: as many requests are counted with loads as without. */
const QUIET_MS = 1000;
const TRAFFIC = fileURLToPath(new URL("steady-traffic.js", import.meta.url));

/** A stretch of the machine's monotonic clock, in milliseconds. */
type Span = readonly [startMs: number, endMs: number];

/**
 * What loading one model does to another: half_plus_two under a steady rate, while versions of a large DLRM come and go in
 * the same process. Requests under way during a load, and others during an unload, are counted apart from those of the same run
 * that met neither. They come from a process of their own, so that this one's file work and polls do not stand in their way.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      size: { type: "string", default: "512" },
      rate: { type: "string", default: "300" },
      loads: { type: "string", default: "30" },
      json: { type: "string" },
    },
  });
  const work = mkdtempSync(join(tmpdir(), "shardserve-bench-isolation-"));
  try {
    const tables = criteoKaggleRows(Number(values.size) * 2 ** 20, DIM);
    await writeDlrm(join(work, "spare/1"), { tables, dim: DIM, seed: 1, ...LAYERS });
    mkdirSync(join(work, "large"));
    const model = (name: string, base: string) =>
      `config { name: "${name}" base_path: "${base}" model_platform: "tensorflow" }`;
    const half = join(REPO_DIR, "test/fixtures/models/half-plus-two");
    const config = join(work, "models.config");
    writeFileSync(config, `model_config_list { ${model("m", half)} ${model("large", join(work, "large"))} }`);
    const flags = ["--port=0", "--rest-api-port=0", "--host=127.0.0.1", "--file-system-poll-wait-seconds=1"];
    await using server = new Child(SHARDSERVE, ["serve", `--model-config-file=${config}`, ...flags]);
    const [, grpc, rest] = await server.line(/gRPC on ([^,]+), REST on (\S+)/);
    await using traffic = new Child(TRAFFIC, [grpc!, values.rate], ["--max-semi-space-size=1"]);
    await traffic.line(/^ready$/);

    const [loads, unloads]: [Span[], Span[]] = [[], []];
    for (let version = 1; version <= Number(values.loads); version++) {
      // Asked as often as during a load, as that costs something, too.
      for (const endMs = machineMs() + QUIET_MS; machineMs() < endMs; await sleep(POLL_MS))
        await stateOf(rest!, version);
      // Hard links: a load reads the files as they are, and the disk stays out of it.
      linkTree(join(work, "spare/1"), join(work, "next"));
      renameSync(join(work, "next"), join(work, "large", String(version)));
      while (!(await stateOf(rest!, version))) await sleep(POLL_MS);
      const startMs = machineMs();
      while ((await stateOf(rest!, version)) !== "AVAILABLE") await sleep(POLL_MS);
      const loadedMs = machineMs();
      loads.push([startMs, loadedMs]);
      if (version === 1) continue;
      while ((await stateOf(rest!, version - 1)) !== "END") await sleep(POLL_MS);
      unloads.push([loadedMs, machineMs()]);
      rmSync(join(work, "large", String(version - 1)), { recursive: true, force: true });
    }
    const requests = traffic.line(/^\[.*\]$/);
    traffic.process.stdin!.end();
    const [quiet, loading, unloading] = [new Latencies(), new Latencies(), new Latencies()];
    for (const span of JSON.parse((await requests)[0]) as Span[]) {
      const meets = (other: Span): boolean => span[0] < other[1] && other[0] < span[1];
      const kind = loads.some(meets) ? loading : unloads.some(meets) ? unloading : quiet;
      kind.add(span[1] - span[0]);
    }
    const [quietP50, quietP99] = quiet.percentiles(0.5, 0.99);
    const [p50, p99, longest] = loading.percentiles(0.5, 0.99, 1);
    const loadMs = loads.reduce((sum, [startMs, endMs]) => sum + endMs - startMs, 0);
    const round = (ms: number) => Math.round(ms * 100) / 100;
    const row = {
      "large MiB": Number(values.size),
      "load ms": Math.round(loadMs / loads.length),
      "requests quiet": quiet.count,
      "during loads": loading.count,
      "p50 quiet": round(quietP50!),
      "p50 loading": round(p50!),
      "p99 quiet": round(quietP99!),
      "p99 loading": round(p99!),
      "p99 unloading": round(unloading.percentiles(0.99)[0]!),
      "longest loading": round(longest!),
      "p99 shift": `${Math.round(100 * (p99! / quietP99! - 1))} %`,
    };
    report("load-isolation", [row], values.json);
    console.log("milliseconds of half_plus_two over gRPC; reach a p99 shift under 10 %");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The state of a version of the large model; undefined while nothing is known of it. */
async function stateOf(address: string, version: number): Promise<string | undefined> {
  const answer = await fetch(`http://${address}/v1/models/large`);
  if (!answer.ok) return undefined;
  const { model_version_status: statuses } = (await answer.json()) as {
    model_version_status: readonly { readonly version: string; readonly state: string }[];
  };
  return statuses.find((status) => status.version === String(version))?.state;
}

function linkTree(from: string, to: string): void {
  mkdirSync(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) linkTree(source, target);
    else linkSync(source, target);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
