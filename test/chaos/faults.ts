import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "@shardserve/core";
import type { EtcdServer, RedisServer } from "@shardserve/testkit";
import { DRIFTING } from "../cluster/support/drifting-model.js";
import { isAtEpoch, isGone, type LiveCluster, versionOf } from "../cluster/support/live-cluster.js";
import { STAMPED } from "../cluster/support/stamped-model.js";

/** What faults act on. */
export interface Arena {
  readonly cluster: LiveCluster;
  readonly etcd: readonly EtcdServer[];
  /** The second level of every executor's cache. */
  readonly redis: RedisServer;
  readonly random: Random;
  /** The version that is served; faults that publish raise it. */
  version: number;
  /** The newest delta of the drifting model. */
  epoch: number;
}

/**
 * Something that goes wrong and is put right again. Every one leaves a replica of each partition reachable at any time, so
 * no request may fail; afterwards the cluster must become whole by itself.
 */
export interface Fault {
  readonly name: string;
  /** Injects, holds and heals. @returns what it did, for the log */
  run(arena: Arena): Promise<string>;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const pick = <T>({ random }: Arena, items: readonly T[]): T => items[Math.floor(random.next() * items.length)] as T;
const between = ({ random }: Arena, min: number, max: number) => min + random.next() * (max - min);
const anyShard = (arena: Arena) => pick(arena, arena.cluster.shardIds);

async function publishDelta(arena: Arena): Promise<void> {
  const epoch = ++arena.epoch;
  await arena.cluster.publishDrifting(epoch);
  await arena.cluster.until((found) => isAtEpoch(found, epoch));
}

export const FAULTS: readonly Fault[] = [
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
      const version = ++arena.version;
      await arena.cluster.publish(version);
      await arena.cluster.until(
        (found) => versionOf(found, version)?.state === "enabled" && isGone(found, version - 1),
      );
      return String(version);
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
