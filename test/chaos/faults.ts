import assert from "node:assert/strict";
import { readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "@shardserve/core";
import { DELTA_MANIFEST_FILE, DELTA_ROWS_FILE, foldPath, listFolds } from "@shardserve/rowstore";
import { type EtcdServer, type RedisServer, SlowDisk, type SmallDisk, type TcpProxy } from "@shardserve/testkit";
import { DRIFTING } from "../cluster/support/drifting-model.js";
import { isAtEpoch, isGone, versionOf } from "../cluster/support/live-cluster.js";
import { STAMPED } from "../cluster/support/stamped-model.js";
import { between, type Fault, pause, pick, type Scene } from "./fault-run.js";

/** What faults act on. */
export interface Arena extends Scene {
  readonly etcd: readonly EtcdServer[];
  /** The second level of every executor's cache. */
  readonly redis: RedisServer;
  /** The link that executors reach Redis by. */
  readonly redisLink: TcpProxy;
  /** Holds everything that the cluster reads and writes; undefined where mounting is not permitted. */
  readonly disk: SmallDisk | undefined;
  /** The version that is served; faults that publish raise it. */
  version: number;
  /** The newest delta of the drifting model. */
  epoch: number;
}

const anyShard = (arena: Arena) => pick(arena, arena.cluster.shardIds);

async function publishDelta(arena: Arena): Promise<void> {
  const epoch = ++arena.epoch;
  await arena.cluster.publishDrifting(epoch);
  await arena.cluster.until((found) => isAtEpoch(found, epoch));
}

async function publishVersion(arena: Arena): Promise<void> {
  const version = ++arena.version;
  await arena.cluster.publish(version);
  await arena.cluster.until((found) => versionOf(found, version)?.state === "enabled" && isGone(found, version - 1));
}

/** Changes one bit of a file, or cuts it short. */
async function damage(path: string, kind: "flipped" | "torn", random: Random): Promise<void> {
  const bytes = await readFile(path);
  const at = Math.floor(random.next() * bytes.length);
  if (kind === "flipped") bytes[at] = (bytes[at] as number) ^ 0x04;
  await writeFile(path, kind === "torn" ? bytes.subarray(0, at) : bytes);
}

export const FAULTS: readonly Fault<Arena>[] = [
  {
    name: "kill -9 a shard",
    async run(arena) {
      const id = anyShard(arena);
      await arena.cluster.process(id).stop("SIGKILL");
      await pause(between(arena, 0, 3_000));
      await arena.cluster.startShard(id);
      return id;
    },
  },
  {
    name: "freeze a shard",
    async run(arena) {
      const id = anyShard(arena);
      const ms = between(arena, 1_000, 6_000);
      arena.cluster.process(id).signal("SIGSTOP");
      await pause(ms);
      arena.cluster.process(id).signal("SIGCONT");
      return `${id} for ${Math.round(ms)} ms`;
    },
  },
  {
    name: "cut executors off from a shard",
    async run(arena) {
      const id = anyShard(arena);
      const kind = pick(arena, ["dark", "refused", "cut"] as const);
      const link = arena.cluster.shardLink(id);
      if (kind === "dark") link.setDark(true);
      if (kind === "refused") link.setRefusing(true);
      link.cut();
      await pause(between(arena, 500, 4_000));
      link.setDark(false);
      link.setRefusing(false);
      return `${id}, ${kind}`;
    },
  },
  {
    name: "half-open link to a shard",
    async run(arena) {
      const id = anyShard(arena);
      arena.cluster.shardLink(id).setDark(true); // connections stand, nothing passes
      await pause(between(arena, 1_000, 5_000));
      arena.cluster.shardLink(id).setDark(false);
      return id;
    },
  },
  {
    name: "one-way link to a shard",
    async run(arena) {
      const id = anyShard(arena);
      const side = pick(arena, ["requests", "replies"] as const);
      arena.cluster.shardLink(id).setDark(true, side);
      await pause(between(arena, 1_000, 5_000));
      arena.cluster.shardLink(id).setDark(false);
      return `${id}, ${side} are lost`;
    },
  },
  {
    name: "lossy link to a shard",
    async run(arena) {
      const id = anyShard(arena);
      const lostOneOf = Math.ceil(between(arena, 2, 30));
      arena.cluster.shardLink(id).setLoss(lostOneOf);
      await pause(4_000);
      arena.cluster.shardLink(id).setLoss(0);
      return `${id}, one packet of ${lostOneOf}`;
    },
  },
  {
    name: "a shard that gets little processor time",
    async run(arena) {
      const id = anyShard(arena);
      const stoppedMs = Math.round(between(arena, 20, 300));
      const endMs = performance.now() + 4_000;
      while (performance.now() < endMs) {
        arena.cluster.process(id).signal("SIGSTOP");
        await pause(stoppedMs);
        arena.cluster.process(id).signal("SIGCONT");
        await pause(20);
      }
      return `${id} for 20 ms of ${stoppedMs + 20} ms`;
    },
  },
  {
    name: "slow link to a shard",
    async run(arena) {
      const id = anyShard(arena);
      const ms = Math.round(between(arena, 20, 400));
      arena.cluster.shardLink(id).setDelay(ms);
      await pause(4_000);
      arena.cluster.shardLink(id).setDelay(0);
      return `${id} by ${ms} ms`;
    },
  },
  {
    name: "cut a process off from etcd",
    async run(arena) {
      const id = pick(arena, [...arena.cluster.shardIds, "executor-0"]);
      for (const link of arena.cluster.etcdLinks(id)) link.setDark(true);
      await pause(between(arena, 2_000, 12_500)); // up to longer than a lease
      for (const link of arena.cluster.etcdLinks(id)) link.setDark(false);
      return id;
    },
  },
  {
    name: "one-way link from a process to etcd",
    async run(arena) {
      const id = pick(arena, [...arena.cluster.shardIds, "executor-0"]);
      const side = pick(arena, ["requests", "replies"] as const);
      for (const link of arena.cluster.etcdLinks(id)) link.setDark(true, side);
      await pause(between(arena, 2_000, 12_500)); // up to longer than a lease
      for (const link of arena.cluster.etcdLinks(id)) link.setDark(false);
      return `${id}, ${side} are lost`;
    },
  },
  {
    name: "etcd compacts what a process has not heard",
    async run(arena) {
      const { cluster } = arena;
      const deaf = pick(arena, [...cluster.shardIds, "executor-0"]);
      for (const link of cluster.etcdLinks(deaf)) link.setDark(true);
      const other = pick(
        arena,
        cluster.shardIds.filter((id) => id !== deaf),
      );
      await cluster.process(other).stop("SIGTERM"); // its keys go, and come again
      await cluster.startShard(other);
      await pick(arena, arena.etcd).compact();
      for (const link of cluster.etcdLinks(deaf)) link.setDark(false);
      return `${deaf} was deaf while ${other} restarted`;
    },
  },
  {
    name: "slow etcd",
    async run(arena) {
      const ms = Math.round(between(arena, 50, 600));
      const ids = [...arena.cluster.shardIds, "executor-0"];
      const links = ids.flatMap((id) => arena.cluster.etcdLinks(id));
      for (const link of links) link.setDelay(ms);
      await pause(5_000);
      for (const link of links) link.setDelay(0);
      return `by ${ms} ms`;
    },
  },
  {
    name: "lose an etcd member",
    async run(arena) {
      const member = pick(arena, arena.etcd);
      const kind = pick(arena, ["SIGKILL", "SIGSTOP"] as const);
      if (kind === "SIGKILL") await member.pause();
      else member.freeze();
      await pause(between(arena, 1_000, 5_000));
      if (kind === "SIGKILL") await member.resume();
      else member.thaw();
      return `port ${member.port}, ${kind}`;
    },
  },
  {
    name: "lose etcd as a whole",
    async run(arena) {
      await Promise.all(arena.etcd.map((member) => member.pause()));
      const id = anyShard(arena);
      await arena.cluster.process(id).stop("SIGKILL");
      await arena.cluster.startShard(id); // from its last known state
      await pause(between(arena, 0, 8_000));
      await Promise.all(arena.etcd.map((member) => member.resume()));
      return `${id} restarted meanwhile`;
    },
  },
  {
    name: "etcd forgets everything",
    async run(arena) {
      await Promise.all(arena.etcd.map((member) => member.wipe()));
      await pause(between(arena, 0, 2_000));
      await Promise.all(arena.etcd.map((member) => member.resume()));
      return "";
    },
  },
  {
    name: "freeze the leader over its office",
    async run({ cluster }) {
      const { leader } = await cluster.until((found) => found.leader !== undefined);
      cluster.process(leader!).signal("SIGSTOP");
      await cluster.until((found) => found.leader !== undefined && found.leader !== leader);
      cluster.process(leader!).signal("SIGCONT");
      return leader!;
    },
  },
  {
    name: "publish a version",
    async run(arena) {
      await publishVersion(arena);
      return String(arena.version);
    },
  },
  {
    name: "publish a delta",
    async run(arena) {
      await publishDelta(arena);
      return `epoch ${arena.epoch}`;
    },
  },
  {
    name: "take a delta back, and bring it again",
    async run(arena) {
      if (arena.epoch === 0) await publishDelta(arena);
      const { cluster, epoch } = arena;
      for (const [flag, wanted] of [
        [`--epoch=${epoch - 1}`, epoch - 1],
        ["--undo", epoch],
      ] as const) {
        const { code, stderr } = await cluster.command("rollback", DRIFTING, flag);
        assert.equal(code, 0, stderr);
        await cluster.until((found) => isAtEpoch(found, wanted));
      }
      return `epoch ${epoch}`;
    },
  },
  {
    name: "a delta while something else goes wrong",
    async run(arena) {
      const kinds = FAULTS.filter(
        ({ name }) => /^(freeze|cut|slow|lossy|half-open|one-way|lose an etcd|kill)/.test(name) && !/delta/.test(name),
      );
      const fault = pick(arena, kinds);
      const [what] = await Promise.all([fault.run(arena), publishDelta(arena)]);
      return `epoch ${arena.epoch}; ${fault.name}: ${what}`;
    },
  },
  {
    name: "freeze the executor over a delta and a restart of a shard",
    async run(arena) {
      const { cluster } = arena;
      cluster.process("executor-0").signal("SIGSTOP");
      const startedMs = performance.now();
      const id = anyShard(arena);
      const epoch = ++arena.epoch;
      await cluster.publishDrifting(epoch);
      await cluster.process(id).stop("SIGTERM");
      await cluster.startShard(id);
      const isForgotten = arena.random.next() < 0.5; // its lease lasts 10 s
      await pause(Math.max(0, (isForgotten ? 14_000 : 6_000) - (performance.now() - startedMs)));
      cluster.process("executor-0").signal("SIGCONT");
      await cluster.until((found) => isAtEpoch(found, epoch));
      return `epoch ${epoch}, ${id}${isForgotten ? "; its lease ended" : ""}`;
    },
  },
  {
    name: "clocks jump",
    obstacle: ({ cluster }) => (cluster.clock("shard-0") ? undefined : "needs libfaketime (Debian's package faketime)"),
    async run(arena) {
      const { cluster } = arena;
      const ids = [...cluster.shardIds, "executor-0"].filter(() => arena.random.next() < 0.6);
      const jumps = ids.map(
        (id) => [id, Math.round(between(arena, -1, 1) * pick(arena, [30, 5_000, 400_000]))] as const,
      );
      for (const [id, seconds] of jumps) cluster.clock(id)?.setAhead(seconds);
      await pause(1_500); // until they notice
      await (arena.random.next() < 0.5 ? publishVersion(arena) : publishDelta(arena));
      await pause(between(arena, 0, 3_000));
      for (const [id] of jumps) cluster.clock(id)?.setAhead(0);
      await pause(1_500);
      return jumps.map(([id, seconds]) => `${id} by ${seconds} s`).join(", ");
    },
  },
  {
    name: "full disk",
    obstacle: ({ disk }) => (disk ? undefined : "needs the right to mount a file system"),
    async run(arena) {
      const { cluster, disk } = arena;
      const version = arena.version + 1;
      await cluster.writeSource(version);
      disk!.fill();
      await assert.rejects(cluster.exportSource(version), /DISK_FULL/);
      const id = anyShard(arena);
      await cluster.process(id).stop("SIGKILL");
      await cluster.startShard(id); // what it learns it cannot keep
      await cluster.untilWhole();
      disk!.free();
      await cluster.exportSource(version);
      arena.version = version;
      await cluster.until((found) => versionOf(found, version)?.state === "enabled" && isGone(found, version - 1));
      return `version ${version}, ${id} restarted meanwhile`;
    },
  },
  {
    name: "slow disk",
    obstacle: () => SlowDisk.obstacle(),
    async run(arena) {
      const { cluster } = arena;
      const ids = arena.random.next() < 0.5 ? cluster.shardIds : [anyShard(arena)];
      const ms = Math.round(between(arena, 2, 50));
      const disks = await Promise.all(ids.map((id) => SlowDisk.attach(cluster.process(id).pid as number, ms)));
      try {
        await (arena.random.next() < 0.5 ? publishVersion(arena) : publishDelta(arena));
      } finally {
        await Promise.all(disks.map((disk) => disk.stop()));
      }
      return `of ${ids.join(", ")}, ${ms} ms more a call; version ${arena.version}, epoch ${arena.epoch}`;
    },
  },
  {
    name: "kill -9 who folds old deltas, damage the fold",
    async run(arena) {
      const { cluster } = arena;
      for (let i = 0; i < 3; i++) await publishDelta(arena); // one is kept, and a fold is of two at least
      const args = ["--keep-epochs=1", `--model-repository=${cluster.repository}`];
      const folder = cluster.start("fold", DRIFTING, ...args, "--wait-seconds=0");
      await pause(between(arena, 200, 1_500)); // before it, in its midst, or behind it
      await folder.stop("SIGKILL");
      const first = await cluster.command("fold", DRIFTING, ...args);
      assert.equal(first.code, 0, `${first.stdout} ${first.stderr}`);
      const epoch = Math.max(...(await listFolds(join(cluster.repository, DRIFTING, "1"))));
      const path = join(cluster.repository, DRIFTING, "1", foldPath(epoch));
      const kind = pick(arena, ["flipped", "torn"] as const);
      const name = pick(arena, [DELTA_MANIFEST_FILE, DELTA_ROWS_FILE]);
      await damage(join(path, name), kind, arena.random);
      const id = anyShard(arena);
      const mended = await cluster.command("fold", DRIFTING, ...args);
      assert.match(mended.stdout, /was damaged and is written anew/, mended.stderr);
      await cluster.process(id).stop("SIGKILL");
      await cluster.startShard(id); // reads what was written anew
      return `epoch ${epoch}, ${name} ${kind}, ${id} reads it anew`;
    },
  },
  {
    name: "damage the saved state of a shard",
    async run(arena) {
      const { cluster } = arena;
      const id = anyShard(arena);
      const kind = pick(arena, ["flipped", "torn"] as const);
      await cluster.process(id).stop("SIGKILL");
      const folder = cluster.stateDir(id);
      for (const name of await readdir(folder)) await damage(join(folder, name), kind, arena.random);
      await cluster.startShard(id);
      return `${id}, ${kind}`;
    },
  },
  {
    name: "slow Redis",
    async run(arena) {
      const ms = Math.round(between(arena, 1, 200));
      arena.redisLink.setDelay(ms);
      await pause(3_000);
      arena.redisLink.setDelay(0);
      return `by ${ms} ms`;
    },
  },
  {
    name: "lose Redis",
    async run(arena) {
      const kind = pick(arena, ["SIGKILL", "SIGSTOP"] as const);
      if (kind === "SIGKILL") await arena.redis.pause();
      else arena.redis.freeze();
      await pause(between(arena, 500, 3_000));
      if (kind === "SIGKILL") await arena.redis.resume();
      else arena.redis.thaw();
      return kind;
    },
  },
  {
    name: "a damaged version is published, and taken back",
    async run(arena) {
      const { cluster } = arena;
      const version = arena.version + 1;
      const path = join(cluster.repository, STAMPED, String(version));
      await cluster.publishDamaged(version);
      await cluster.until((found) => versionOf(found, version)?.state === "failed");
      await rename(path, `${path}.damaged-${Math.floor(arena.random.next() * 1e9)}`);
      await cluster.until((found) => isGone(found, version));
      await cluster.forgetExport(version);
      return String(version);
    },
  },
  {
    name: "rolling restart of everything",
    async run({ cluster }) {
      for (const id of cluster.shardIds) {
        await cluster.process(id).stop("SIGTERM");
        await cluster.startShard(id);
        await cluster.untilWhole();
      }
      await cluster.process("executor-1").stop("SIGTERM");
      await cluster.startExecutor("executor-1");
      return "";
    },
  },
];
