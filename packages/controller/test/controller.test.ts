import assert from "node:assert/strict";
import { clusterStatus, type VersionStatus } from "@shardserve/controller";
import {
  EtcdRegistry,
  holdingKey,
  type HoldingRecord,
  holdingRecord,
  MapFollower,
  MemoryRegistry,
  MemoryStore,
  NEWS_KEY,
  newsRecord,
  type Registry,
} from "@shardserve/registry";
import { EtcdServer, eventually, type TempDir, tempDir } from "@shardserve/testkit";
import { Participant, PARTITION_COUNT, publish } from "./cluster.js";

const SETTINGS = {
  replication: 2,
  minShards: 3,
  settleMs: 200,
  replaceAfterMs: 1_500,
  retireAfterMs: 300,
  pollMs: 100,
};

describe("controller on a real etcd", function () {
  this.timeout(60_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let registry: Registry;
  let follower: MapFollower;
  let shards: Participant[] = [];
  let tests = 0;
  let pollMs: number;
  let store: "there" | "silent" | "away" = "there";

  before(async () => {
    etcd = await EtcdServer.start();
  });
  after(() => etcd.stop());

  beforeEach(async () => {
    dir = await tempDir();
    tests++;
    store = "there";
    pollMs = SETTINGS.pollMs;
    registry = open();
    follower = new MapFollower(registry);
    follower.start();
    shards = [];
  });
  afterEach(async () => {
    await follower.close();
    await Promise.all(shards.map((shard) => shard.stop().catch(() => undefined)));
    await registry.close();
    await dir.remove();
  });

  const open = () => new EtcdRegistry({ hosts: [etcd.host], cluster: `controller-${tests}`, callTimeoutMs: 1_000 });

  async function join(...ids: string[]): Promise<void> {
    for (const id of ids) {
      const refresh = async () => {
        if (store === "silent") await new Promise<never>(() => undefined);
        if (store === "away") throw new Error("the store is away");
      };
      const settings = { ...SETTINGS, pollMs };
      const shard = new Participant({ id, registry: open(), baseDir: dir.path, settings, refresh });
      shards.push(shard);
      await shard.start();
    }
  }

  const isEnabled = (version: number) => follower.map("ctr", version) !== undefined;
  const leader = () => shards.filter((shard) => shard.controller.isLeader);

  it("replaces a dead shard while a look at the repository does not end", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2", "s3");
    await eventually(() => isEnabled(1));
    store = "silent";
    const victim = shards.find((shard) => !shard.controller.isLeader) as Participant;
    await victim.die();
    await victim.controller.close();
    shards = shards.filter((shard) => shard !== victim);
    await eventually(() => !follower.map("ctr", 1)!.shards.includes(victim.id), { timeoutMs: 30_000 });
  });

  it("counts looks at the repository that fail, and keeps what is in force", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    store = "away";
    const failures = async () => (await leader()[0]?.metrics.metrics())?.match(/controller_failures_total (\d+)/)?.[1];
    const before = Number(await failures());
    await eventually(async () => Number(await failures()) > before + 1);
    assert.ok(isEnabled(1));
  });

  it("looks at the repository when it is told of news, however rarely it looks by itself", async () => {
    pollMs = 3_600_000;
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    for (const version of [2, 3]) {
      await publish(dir.path, "ctr", version);
      await registry.txn([], [{ put: NEWS_KEY, value: newsRecord.encode({ writtenAtMs: version }) }]);
      await eventually(() => isEnabled(version));
    }
  });

  it("rolls out versions one after another and says so in its status", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    assert.equal(leader().length, 1);
    const status = await clusterStatus(registry);
    assert.equal(status.leader, leader()[0]?.id);
    assert.deepEqual(
      status.shards.map((shard) => shard.id),
      ["s0", "s1", "s2"],
    );
    assert.equal(
      status.shards.reduce((sum, shard) => sum + shard.partitionCount, 0),
      PARTITION_COUNT * 2,
    );
    const [model] = status.models;
    assert.deepEqual(
      model?.versions.map(({ version, state, generation, heldCount, neededCount, degradedCount }) => [
        version,
        state,
        generation,
        heldCount,
        neededCount,
        degradedCount,
      ]),
      [[1, "enabled", 1, 26, 26, 0]],
    );
    await publish(dir.path, "ctr", 2);
    await eventually(() => isEnabled(2));
    await eventually(() => !isEnabled(1));
    await eventually(async () => (await registry.list("holdings/")).entries.every((entry) => entry.key.endsWith("/2")));
  });

  /** Of ctr, once a shard's holding is as given; the shard may write its own once more after the map that it follows. */
  const statusOnce = async (key: string, holding: HoldingRecord, isSo: (found: VersionStatus) => boolean) => {
    let version: VersionStatus | undefined;
    await eventually(async () => {
      await registry.txn([], [{ put: key, value: holdingRecord.encode(holding) }]);
      version = (await clusterStatus(registry)).models[0]?.versions[0];
      return version !== undefined && isSo(version);
    });
    return version as VersionStatus;
  };

  it("does not count what a shard holds of another repository, and names the shard", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    const key = holdingKey("s0", "ctr", 1);
    const held = holdingRecord.decode((await registry.list(key)).entries[0]!.value, key);
    const other = { ...held, manifestDigest: "0".repeat(32) };
    const version = await statusOnce(key, other, ({ estrangedShards }) => estrangedShards.length > 0);
    assert.equal(version.heldCount, 26 - held.partitions.length);
    assert.deepEqual(version.estrangedShards, ["s0"]);
  });

  it("tells what a shard fails at, and does not take one that opened nothing for one of another repository", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    const key = holdingKey("s0", "ctr", 1);
    const held = holdingRecord.decode((await registry.list(key)).entries[0]!.value, key);
    const error = { code: "NOT_FOUND" as const, message: "ctr/1 has no manifest" };
    const nothing = { ...held, manifestDigest: "", partitions: [], digests: [], error };
    const version = await statusOnce(key, nothing, ({ failures }) => failures.length > 0);
    assert.deepEqual(version.estrangedShards, []);
    assert.deepEqual(version.failures, [{ shard: "s0", ...error }]);
  });

  it("a leader that is killed in the middle of a rollout is followed by one that ends it", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2", "s3");
    await eventually(() => isEnabled(1));
    const [first] = leader();
    assert.ok(first);
    for (const shard of shards) shard.isStuck = shard !== first;
    await publish(dir.path, "ctr", 2);
    await eventually(
      async () =>
        (await clusterStatus(registry)).models[0]?.versions.some(
          ({ version, state }) => version === 2 && state === "staged",
        ) ?? false,
    );
    await first.die();
    shards = shards.filter((shard) => shard !== first);
    await first.controller.close();
    for (const shard of shards) {
      shard.isStuck = false;
      shard.load();
    }
    await eventually(() => leader().length === 1, { timeoutMs: 15_000 });
    await eventually(() => isEnabled(2) && !isEnabled(1), { timeoutMs: 20_000 });
    assert.ok(!follower.map("ctr", 2)?.shards.includes(first.id), "what the dead one held was given to others");
  });

  it("goes on after etcd was away, with what it knew", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    const map = follower.map("ctr", 1);
    await etcd.pause();
    await publish(dir.path, "ctr", 2);
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // longer than every lease
    assert.equal(follower.map("ctr", 1), map, "executors keep what they know");
    await etcd.resume();
    await eventually(() => isEnabled(2) && !isEnabled(1), { timeoutMs: 30_000 });
    assert.equal(leader().length, 1);
  });

  it("a shard that dies is replaced, one that joins takes its share, generation by generation", async () => {
    await publish(dir.path, "ctr", 1);
    await join("s0", "s1", "s2");
    await eventually(() => isEnabled(1));
    const victim = shards.find((shard) => !shard.controller.isLeader) as Participant;
    await victim.die();
    await victim.controller.close();
    shards = shards.filter((shard) => shard !== victim);
    await eventually(() => follower.map("ctr", 1)?.generation === 2, { timeoutMs: 20_000 });
    assert.ok(!follower.map("ctr", 1)?.shards.includes(victim.id));
    await join("s9");
    await eventually(() => follower.map("ctr", 1)?.generation === 3, { timeoutMs: 20_000 });
    assert.ok(follower.map("ctr", 1)?.shards.includes("s9"));
    const status = await clusterStatus(registry);
    assert.deepEqual([status.missingShards, status.models[0]?.versions[0]?.degradedCount], [[], 0]);
  });
});

describe("controller on an in-process registry", () => {
  it("needs no etcd, and resigns when it is closed", async () => {
    await using dir = await tempDir();
    const store = new MemoryStore();
    await publish(dir.path, "ctr", 7);
    const make = (id: string) =>
      new Participant({
        id,
        registry: new MemoryRegistry({ store }),
        baseDir: dir.path,
        settings: { ...SETTINGS, replication: 1, minShards: 1 },
      });
    const [first, second] = [make("s0"), make("s1")];
    await first.start();
    await second.start();
    const follower = new MapFollower(first.registry);
    follower.start();
    await eventually(() => follower.map("ctr", 7) !== undefined);
    await eventually(() => first.controller.isLeader || second.controller.isLeader);
    const [leading, other] = first.controller.isLeader ? [first, second] : [second, first];
    const leads = async ({ metrics }: Participant) =>
      /^shardserve_controller_is_leader (\d)/m.exec(await metrics.metrics())?.[1] === "1";
    assert.deepEqual([await leads(leading), await leads(other)], [true, false]);
    await leading.controller.close();
    await eventually(() => other.controller.isLeader, { timeoutMs: 2_000 });
    assert.deepEqual([await leads(leading), await leads(other)], [false, true]);
    await follower.close();
    await first.stop();
    await second.stop();
    store.close();
  });
});
