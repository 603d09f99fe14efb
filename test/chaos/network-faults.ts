import type { EtcdServer, TestNetwork } from "@shardserve/testkit";
import { isAtEpoch } from "../cluster/support/live-cluster.js";
import { between, type Fault, pause, pick, type Scene } from "./fault-run.js";

/** A cluster whose processes, and etcd's members, each have a network of their own. */
export interface NetworkScene extends Scene {
  readonly network: TestNetwork;
  readonly etcd: readonly EtcdServer[];
  /** The newest delta of the drifting model. */
  epoch: number;
}

const etcdHosts = ({ etcd }: NetworkScene) => etcd.map(({ hostName }) => hostName as string);

/**
 * A connection that lived through a cut is quiet for longer: kernels send again ever more seldom. Executors give it up after
 * 10 s without a sign of life and connect anew within moments. Until then the shard is out of their reach, and another one
 * must not be cut off too.
 */
const RECONNECTED_AFTER_MS = 14_000;
/** After a cut so long that the connection was given up in it. */
const RECONNECTED_MS = 3_000;

/** As {@link whileCut}, for links of executors to shards. */
async function whileExecutorIsCut(scene: NetworkScene, maxMs: number, inject: () => void): Promise<string> {
  const startMs = performance.now();
  const what = await whileCut(scene, maxMs, inject);
  await pause(Math.max(RECONNECTED_MS, startMs + RECONNECTED_AFTER_MS - performance.now()));
  return what;
}

/** Cuts what `inject` cuts for a while, at times longer than a lease; at times a delta is published meanwhile. */
async function whileCut(scene: NetworkScene, maxMs: number, inject: () => void): Promise<string> {
  const { network, cluster } = scene;
  const ms = Math.round(between(scene, 1_000, maxMs));
  const hasDelta = scene.random.next() < 0.4;
  inject();
  try {
    const published = hasDelta ? cluster.publishDrifting(++scene.epoch) : undefined;
    await Promise.all([pause(ms), published]);
  } finally {
    network.heal();
  }
  if (hasDelta) await cluster.until((found) => isAtEpoch(found, scene.epoch), 60_000);
  return `for ${ms} ms${hasDelta ? `, epoch ${scene.epoch} meanwhile` : ""}`;
}

/** Packets get lost without a word: nobody is told, by a reset or otherwise. */
export const NETWORK_FAULTS: readonly Fault<NetworkScene>[] = [
  {
    name: "nothing passes between a shard and the rest",
    async run(scene) {
      const { cluster, network } = scene;
      const id = pick(scene, cluster.shardIds);
      const others = [...cluster.shardIds, ...cluster.executorIds, ...etcdHosts(scene)];
      return `${id} ${await whileExecutorIsCut(scene, 13_000, () => network.part([id], others))}`;
    },
  },
  {
    name: "nothing passes between an executor and a shard",
    async run(scene) {
      const id = pick(scene, scene.cluster.shardIds);
      return `${id} ${await whileExecutorIsCut(scene, 8_000, () => scene.network.part(["executor-0"], [id]))}`;
    },
  },
  {
    name: "packets between an executor and a shard are lost one way",
    async run(scene) {
      const id = pick(scene, scene.cluster.shardIds);
      const isRequest = scene.random.next() < 0.5;
      const [from, to] = isRequest ? ["executor-0", id] : [id, "executor-0"];
      return `${from} to ${to} ${await whileExecutorIsCut(scene, 8_000, () => scene.network.lose(from, to))}`;
    },
  },
  {
    name: "nothing passes between a process and etcd",
    async run(scene) {
      const id = pick(scene, [...scene.cluster.shardIds, ...scene.cluster.executorIds]);
      return `${id} ${await whileCut(scene, 13_000, () => scene.network.part([id], etcdHosts(scene)))}`;
    },
  },
  {
    name: "nothing passes between two shards",
    async run(scene) {
      const id = pick(scene, scene.cluster.shardIds);
      const other = pick(
        scene,
        scene.cluster.shardIds.filter((one) => one !== id),
      );
      const what = await whileCut(scene, 5_000, () => scene.network.part([id], [other]));
      return `${id}, ${other} ${what}`;
    },
  },
  {
    name: "etcd's leader is cut off from the other members",
    async run(scene) {
      const leader = await etcdLeader(scene);
      return `${leader} ${await whileCut(scene, 12_000, () => scene.network.part([leader], etcdHosts(scene)))}`;
    },
  },
  {
    name: "one member of etcd is cut off from the others",
    async run(scene) {
      const member = pick(scene, etcdHosts(scene));
      return `${member} ${await whileCut(scene, 12_000, () => scene.network.part([member], etcdHosts(scene)))}`;
    },
  },
  {
    name: "what etcd's leader sends to the other members is lost, or what they send to it",
    async run(scene) {
      const { network } = scene;
      const leader = await etcdLeader(scene);
      const others = etcdHosts(scene).filter((name) => name !== leader);
      const isSender = scene.random.next() < 0.5;
      const what = await whileCut(scene, 8_000, () => {
        for (const other of others) {
          if (isSender) network.lose(leader, other);
          else network.lose(other, leader);
        }
      });
      return `${isSender ? "from" : "to"} ${leader} ${what}`;
    },
  },
  {
    name: "no two members of etcd reach one another",
    async run(scene) {
      const { network } = scene;
      const hosts = etcdHosts(scene);
      network.part(hosts, hosts);
      const ms = Math.round(between(scene, 1_000, 14_000)); // up to longer than a lease
      await pause(ms);
      network.heal();
      return `for ${ms} ms`;
    },
  },
  {
    name: "a shard is on the side of one member of etcd, the rest on that of two",
    async run(scene) {
      const { cluster, network } = scene;
      const members = etcdHosts(scene);
      const [id, member] = [pick(scene, cluster.shardIds), pick(scene, members)];
      const there = [id, member];
      const here = [...cluster.shardIds, ...cluster.executorIds, ...members].filter((name) => !there.includes(name));
      return `${there.join(", ")} ${await whileExecutorIsCut(scene, 13_000, () => network.part(there, here))}`;
    },
  },
];

async function etcdLeader({ etcd }: NetworkScene): Promise<string> {
  for (const member of etcd) if (await member.isLeader()) return member.hostName as string;
  return etcd[0]?.hostName as string; // between two elections
}
