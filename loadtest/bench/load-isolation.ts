import { linkSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "@shardserve/core";
import { REPO_DIR } from "@shardserve/testkit";
import { openLoop } from "../load/drivers.js";
import { Latencies } from "../load/histogram.js";
import { PredictClient } from "../load/predict-client.js";
import { criteoKaggleRows, writeDlrm } from "../models/dlrm.js";
import { encodeRequest, halfInputs } from "../models/requests.js";
import { Child, SHARDSERVE } from "./child.js";
import { report } from "./machine.js";

const DIM = 64;
/** Dense layers that are large too: the engine reads and packs them. */
const LAYERS = { bottom: [2048, 2048, DIM], top: [2048, 2048, 1] };
const POLL_MS = 20;
/** About as long as a load: as many requests are counted with loads as without. */
const QUIET_MS = 1000;

/**
 * What loading one model does to another: half_plus_two under a steady rate, while versions of a large DLRM come and go in
 * the same process. Requests under way during a load are counted apart from the others of the same run.
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
    const client = new PredictClient(grpc!);
    const request = encodeRequest(halfInputs(1));
    for (let i = 0; i < 2000; i++) await client.predict(request);

    const [quiet, loading] = [new Latencies(), new Latencies()];
    let loadsUnderWay = 0;
    let loadMs = 0;
    const send = async (): Promise<void> => {
      const [startMs, wasLoading] = [performance.now(), loadsUnderWay > 0];
      await client.predict(request);
      (wasLoading || loadsUnderWay > 0 ? loading : quiet).add(performance.now() - startMs);
    };
    const stop = { isOver: false };
    const traffic = (async () => {
      const random = seededRandom(1);
      while (!stop.isOver) {
        const run = await openLoop({ ratePerS: Number(values.rate), durationMs: 500, random, send });
        for (const [text, count] of run.failures) throw new Error(`${count} requests failed: ${text}`);
      }
    })();
    for (let version = 1; version <= Number(values.loads); version++) {
      // As long as it is quiet, and the version before is gone; asked as often as during a load, as that costs something, too.
      for (const endMs = performance.now() + QUIET_MS; performance.now() < endMs; await sleep(POLL_MS)) {
        await stateOf(rest!, version);
      }
      // Hard links: a load reads the files as they are, and the disk stays out of it.
      linkTree(join(work, "spare/1"), join(work, "next"));
      renameSync(join(work, "next"), join(work, "large", String(version)));
      while (!(await stateOf(rest!, version))) await sleep(POLL_MS);
      const startMs = performance.now();
      loadsUnderWay++;
      while ((await stateOf(rest!, version)) !== "AVAILABLE") await sleep(POLL_MS);
      loadsUnderWay--;
      loadMs += performance.now() - startMs;
      rmSync(join(work, "large", String(version - 1)), { recursive: true, force: true });
    }
    stop.isOver = true;
    await traffic;
    client.close();
    const [quietP50, quietP99] = quiet.percentiles(0.5, 0.99);
    const [p50, p99, longest] = loading.percentiles(0.5, 0.99, 1);
    const round = (ms: number) => Math.round(ms * 100) / 100;
    const row = {
      "large MiB": Number(values.size),
      "load ms": Math.round(loadMs / Number(values.loads)),
      "requests quiet": quiet.count,
      "during loads": loading.count,
      "p50 quiet": round(quietP50!),
      "p50 loading": round(p50!),
      "p99 quiet": round(quietP99!),
      "p99 loading": round(p99!),
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
