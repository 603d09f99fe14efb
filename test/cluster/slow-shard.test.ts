import assert from "node:assert/strict";
import { join } from "node:path";
import { type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { type Front, startUp } from "./support/roles.js";
import { STAMPED, writeStamped } from "./support/stamped-model.js";
import { SteadyLoad } from "./support/steady-load.js";

/** What a loaded machine may add to a latency without meaning anything. */
const NOISE_MS = 150;

describe("a shard that stands still", function () {
  this.timeout(120_000);
  let dir: TempDir;
  let up: Front;

  before(async () => {
    dir = await tempDir("shardserve-slow-");
    await writeStamped(join(dir.path, "source"), 1);
    const out = join(dir.path, "repository", STAMPED, "1");
    const { code, stderr } = await cli("shard-export", join(dir.path, "source"), `--out=${out}`, "--min-table-bytes=0");
    assert.equal(code, 0, stderr);
    up = await startUp(join(dir.path, "repository"), "--shards=3", "--replication=2", "--cache-bytes=64KiB");
  });

  after(async () => {
    await up?.process.stop();
    await dir?.remove();
  });

  it("SIGSTOP of one of three: no request fails, p99 stays near what it was, and it takes part again after SIGCONT", async () => {
    const pids = /\(pid (\d+), (\d+), (\d+)\)/.exec(up.process.output)!.slice(1).map(Number);
    const victim = pids[1]!;
    await using load = new SteadyLoad(up.grpc);
    await load.more(300); // everything is warm
    load.takeLatencies();
    await load.more(500);
    const steady = p99(load.takeLatencies());
    process.kill(victim, "SIGSTOP");
    try {
      await load.more(1_000);
    } finally {
      process.kill(victim, "SIGCONT");
    }
    const stopped = p99(load.takeLatencies());
    await load.more(300);
    const { failures } = await load.stop();
    assert.deepEqual(failures.slice(0, 3), [], `${failures.length} requests failed`);
    // a shard that is waited for costs the whole lookup timeout, 5 s
    assert.ok(stopped <= 3 * steady + NOISE_MS, `p99 ${stopped} ms while a shard stood still, ${steady} ms before`);
    const metrics = await (await fetch(`http://${up.rest}/monitoring/prometheus/metrics`)).text();
    assert.match(metrics, /^shardserve_lookup_hedges_total\{outcome="won"\} [1-9]/m);
    // Whether its circuit opens, too, depends on how soon latency alone makes it avoided: hedging.test.ts, on simulated time.
  });
});

function p99(ascending: readonly number[]): number {
  return ascending[Math.floor(ascending.length * 0.99)] as number;
}
