import assert from "node:assert/strict";
import { cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterStatus } from "@shardserve/controller";
import { seededRandom } from "@shardserve/core";
import { cli, cliJson } from "./support/cli.js";
import { DriftingLoad } from "./support/drifting-load.js";
import { addedRowsRequest, DRIFTING, driftingRequest, writeDrifting } from "./support/drifting-model.js";
import { GrpcClient } from "./support/grpc.js";
import { type Front, startExecutor, startServe, whenAvailable } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";

const SHARD_IDS = ["shard-0", "shard-1", "shard-2"];
const REPLICATION = 2;
/** Executors try to reach a shard that was away every two seconds at the latest. */
const RECONNECTED_MS = 4_000;

/** One cluster lives through all deltas, one after another. */
describe("deltas in a cluster", function () {
  this.timeout(150_000);
  let cluster: SmallCluster;
  const executors = new Map<string, Front>();

  const versionOf = (found: ClusterStatus) => found.models[0]!.versions[0]!;
  const isEverywhere = (epoch: number) => (found: ClusterStatus) =>
    versionOf(found).epoch === epoch &&
    versionOf(found).stagedEpoch === undefined &&
    found.executors.every(({ serving }) => (serving[0]?.epoch ?? 0) === epoch);
  /** Starts a shard that was killed and waits until it holds everything. */
  const restart = (id: string) =>
    cluster.restartShard(id, (found) => {
      const { heldCount, neededCount } = versionOf(found);
      return found.missingShards.length === 0 && heldCount === neededCount;
    });
  const version = () => join(cluster.place.repository, DRIFTING, "1");

  /** Exports the epoch into the repository. */
  const publish = async (epoch: number, options: { readonly parent?: number } = {}) => {
    const source = join(cluster.dir.path, "source", String(epoch));
    await writeDrifting(source, epoch);
    const parent = options.parent === undefined ? [] : [`--parent=${options.parent}`];
    const report = await cliJson<{ out?: string; epoch: number }>(
      "shard-export",
      source,
      `--base=${version()}`,
      ...parent,
    );
    assert.equal(report.epoch, epoch);
    return report;
  };

  before(async () => {
    cluster = await SmallCluster.start("deltas", {
      shardFlags: () => [
        `--replication=${REPLICATION}`,
        `--min-shards=${SHARD_IDS.length}`,
        "--settle-seconds=0.2",
        "--repository-poll-seconds=0.2",
      ],
    });
    await writeDrifting(join(cluster.dir.path, "source/0"), 0);
    const out = `--out=${version()}`;
    const { code, stderr } = await cli(
      "shard-export",
      join(cluster.dir.path, "source/0"),
      out,
      "--min-table-bytes=64KiB",
    );
    assert.equal(code, 0, stderr);
    await cluster.startShards(...SHARD_IDS);
    await Promise.all(
      ["executor-0", "executor-1"].map(async (id) => {
        executors.set(id, await startExecutor(cluster.place, id, "--cache-bytes=128KiB"));
      }),
    );
    for (const front of executors.values()) await whenAvailable(front, DRIFTING);
  });

  after(() => cluster?.stop(...[...executors.values()].map((front) => front.process)));

  const load = () => new DriftingLoad(executors.get("executor-0")!.grpc);
  const ask = async (epoch: number) => {
    using client = new GrpcClient(executors.get("executor-1")!.grpc);
    const request = addedRowsRequest(epoch);
    request.check(await client.send(request.bytes));
  };

  it("takes up a delta under load: no request fails, none mixes epochs, rows that were added are found", async () => {
    await using running = load();
    await running.more(100);
    assert.ok(running.epochs.every((epoch) => epoch === 0));
    await publish(1);
    await running.until(() => running.epochs.at(-1) === 1, "epoch 1 is answered");
    await cluster.until(isEverywhere(1));
    await ask(1);
    await publish(2);
    await cluster.until(isEverywhere(2));
    await running.more(100);
    await ask(2);
    await running.stop();
    assert.deepEqual(running.failures, []);
    assert.deepEqual([...new Set(running.epochs)], [0, 1, 2]);
  });

  it("rolls back to the epoch before by one command, under load, and takes up the branch that follows", async () => {
    await using running = load();
    await running.more(50);
    const back = await cli("rollback", DRIFTING, "--epoch=1", ...cluster.registryFlags);
    assert.equal(back.code, 0, back.stderr);
    assert.match(back.stdout, /epoch 1 is in force after [\d.]+ s; taken back: 2/);
    await running.until(() => running.epochs.at(-1) === 1, "epoch 1 is answered");
    await cluster.until(isEverywhere(1));
    await running.more(50);
    assert.deepEqual(await cliJson("rollback", DRIFTING, "--epoch=1", ...cluster.registryFlags), {
      model: DRIFTING,
      version: 1,
      epoch: 1,
      rejectedEpochs: [2],
      isInForce: true,
    });
    const refused = await cli("rollback", DRIFTING, "--epoch=2", ...cluster.registryFlags);
    assert.match(refused.stderr, /NOT_FOUND.*no epoch 2 to go back to; there are 0, 1/);
    await publish(3, { parent: 1 });
    await cluster.until(isEverywhere(3));
    await ask(3);
    await running.stop();
    assert.deepEqual(running.failures, []);
  });

  it("kill -9 of a shard while a delta is staged: the rest goes on, it comes back with the whole chain", async () => {
    await using running = load();
    await running.more(50);
    const leader = (await cluster.status()).leader!;
    const victim = SHARD_IDS.find((id) => id !== leader)!;
    await publish(4);
    await cluster.kill(victim);
    await cluster.until(isEverywhere(4));
    await running.more(100);
    await restart(victim);
    await new Promise((resolve) => setTimeout(resolve, RECONNECTED_MS));
    // Whatever another shard shares with the victim can come from the victim only.
    const other = SHARD_IDS.find((id) => id !== victim && id !== leader)!;
    await cluster.kill(other);
    await running.more(200);
    await restart(other);
    await running.stop();
    assert.deepEqual(running.failures, []);
  });

  it("kill -9 of the leader in the midst of a delta: the next leader commits it", async () => {
    await using running = load();
    await running.more(50);
    const leader = (await cluster.status()).leader!;
    await publish(5);
    await cluster.kill(leader);
    await cluster.until(({ leader: now }) => now !== undefined && now !== leader);
    await cluster.until(isEverywhere(5));
    await running.more(50);
    await restart(leader);
    await running.stop();
    assert.deepEqual(running.failures, []);
  });

  it("a flipped byte in a delta on one shard's disk is refused by name; the epoch waits, the repaired one goes in", async () => {
    await using running = load();
    await running.more(50);
    const victim = SHARD_IDS.find((id) => id !== "shard-0")!;
    const own = join(cluster.dir.path, "own");
    await cp(cluster.place.repository, own, { recursive: true });
    await cluster.shards.get(victim)!.stop();
    await cluster.startShard(victim, own);
    await cluster.until(
      (found) => found.missingShards.length === 0 && versionOf(found).heldCount === versionOf(found).neededCount,
    );
    const { out } = await publish(6);
    const theirs = join(own, DRIFTING, "1/deltas/6");
    await cp(out!, `${theirs}.copying`, { recursive: true });
    const rows = join(`${theirs}.copying`, "rows.delta");
    await writeFile(
      rows,
      (await readFile(rows)).map((byte, i) => (i % 200 === 150 ? byte ^ 1 : byte)), // in every partition
    );
    await rename(`${theirs}.copying`, theirs);
    await cluster.shards.get(victim)!.waitForOutput(/deltas\/6\/rows\.delta: partition \d+/);
    const found = await cluster.status();
    assert.deepEqual([versionOf(found).epoch, versionOf(found).stagedEpoch], [5, 6]);
    await running.more(100);
    assert.equal(running.epochs.at(-1), 5);
    await rm(theirs, { recursive: true });
    await cp(out!, theirs, { recursive: true });
    await cluster.until(isEverywhere(6));
    await running.stop();
    assert.deepEqual(running.failures, []);
  });

  it("old deltas of exports are folded by one command, a damaged fold is written anew, and exports go on", async () => {
    await using running = load();
    await running.more(50);
    const keep = ["--keep-epochs=2", `--model-repository=${cluster.place.repository}`, ...cluster.registryFlags];
    await mkdir(join(version(), "folds/4"), { recursive: true });
    await writeFile(join(version(), "folds/4/shardserve.delta"), "damaged before anybody read it");
    const folded = await cli("fold", DRIFTING, ...keep);
    assert.equal(folded.code, 0, folded.stderr);
    assert.match(folded.stderr, /folds\/4.*a damaged fold is removed/);
    assert.match(folded.stdout, /drifting\/1: 3 deltas up to epoch 4 are folded; 2 follow/);
    const again = await cli("fold", DRIFTING, ...keep);
    assert.match(again.stdout, /has a fold and 2 deltas, of which the newest 2 are kept; there is nothing to fold/);
    assert.deepEqual(await cliJson("fold", DRIFTING, ...keep), {
      model: DRIFTING,
      version: 1,
      foldedEpoch: 4,
      foldedDeltas: 0,
      isMended: false,
      isInForce: true,
    });
    for (const name of ["rows.delta", "shardserve.delta"]) {
      const path = join(version(), "folds/4", name);
      const bytes = await readFile(path);
      await writeFile(path, bytes.subarray(0, bytes.length / 2));
      const mended = await cli("fold", DRIFTING, ...keep);
      assert.match(mended.stdout, /the fold of epoch 4 was damaged and is written anew: .*folds\/4/, mended.stderr);
      assert.ok((await readFile(path)).equals(bytes));
    }
    // Nothing but the fold and what follows it: a shard that starts reads that.
    for (const epoch of [1, 3, 4]) await rm(join(version(), "deltas", String(epoch)), { recursive: true });
    const victim = SHARD_IDS.find((id) => id !== "shard-0")!;
    await cluster.kill(victim);
    await restart(victim);
    await publish(7);
    await cluster.until(isEverywhere(7));
    await ask(7);
    await running.stop();
    assert.deepEqual(running.failures, []);
  });

  it("verify proves every epoch against its SavedModel; serve on one node answers at the newest", async () => {
    const newest = await cliJson<{ epoch: number; deltas: number[] }>(
      "verify",
      join(cluster.dir.path, "source/7"),
      version(),
    );
    assert.deepEqual(newest, { ...newest, epoch: 7, deltas: [4, 5, 6, 7] });
    const older = await cliJson<{ epoch: number }>(
      "verify",
      join(cluster.dir.path, "source/5"),
      version(),
      "--epoch=5",
    );
    assert.equal(older.epoch, 5);
    const other = await cli("verify", join(cluster.dir.path, "source/4"), version(), "--epoch=5");
    assert.match(other.stderr, /DIGEST_MISMATCH: row \d+ of table.* in .*, epoch 5: its bytes differ/);

    const alone = join(cluster.dir.path, "alone");
    await cp(version(), join(alone, "1"), { recursive: true });
    const front = await startServe(DRIFTING, alone);
    try {
      using client = new GrpcClient(front.grpc);
      const request = driftingRequest(seededRandom(1));
      assert.equal(request.check(await client.send(request.bytes)), 7);
    } finally {
      await front.process.stop();
    }
    const bias = join(alone, "1/deltas/7/dense/variables/variables.data-00000-of-00001");
    await writeFile(
      bias,
      (await readFile(bias)).map((byte, i) => (i === 1 ? byte ^ 1 : byte)),
    );
    const damaged = await cli("verify", join(cluster.dir.path, "source/7"), join(alone, "1"));
    assert.match(damaged.stderr, /CHECKSUM_MISMATCH: .*deltas\/7\/dense\/variables\/variables\.data/);
  });
});
