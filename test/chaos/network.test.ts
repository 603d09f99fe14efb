import { seededRandom } from "@shardserve/core";
import { EtcdRegistry } from "@shardserve/registry";
import { EtcdServer, type TempDir, TestNetwork, tempDir } from "@shardserve/testkit";
import { LiveCluster } from "../cluster/support/live-cluster.js";
import { MINUTES, runFaults, SEED, SHARDS, startWhole } from "./fault-run.js";
import { NETWORK_FAULTS, type NetworkScene } from "./network-faults.js";
import { NETWORK_SHARE } from "./shares.js";
import { checkNoDegradedRows } from "./verifier.js";

/**
 * The chaos of networks proper: each process and each member of etcd is a host of its own on a switch that loses what it is
 * told to, one direction at a time. What other things go wrong is in chaos.test.ts.
 */
describe(`chaos of the network, seed ${SEED}`, function () {
  this.timeout(MINUTES * 60_000 + 240_000);
  const untilMs = () => startedMs + MINUTES * NETWORK_SHARE * 60_000;
  let startedMs = 0;
  let dir: TempDir;
  let scene: NetworkScene;
  let registry: EtcdRegistry;

  before(async function () {
    const obstacle = TestNetwork.obstacle();
    if (obstacle !== undefined) {
      console.log(`      SKIPPED: ${obstacle}`);
      return this.skip();
    }
    startedMs = performance.now();
    const network = new TestNetwork();
    const hosts = ["etcd-0", "etcd-1", "etcd-2"].map((name) => network.join(name));
    [dir] = [await tempDir("shardserve-network-")];
    const etcd = await EtcdServer.startCluster(hosts.length, {}, hosts);
    const addresses = etcd.map(({ host }) => host);
    const cluster = new LiveCluster({
      dir: dir.path,
      etcd: addresses,
      cluster: "network",
      replication: 2,
      minShards: SHARDS.length,
      shardFlags: ["--replace-after-seconds=300"],
      network,
    });
    registry = new EtcdRegistry({ hosts: addresses, cluster: "network" });
    scene = { cluster, network, etcd, random: seededRandom(SEED), epoch: 0 };
    await startWhole(cluster);
  });
  after(async () => {
    scene?.network.heal();
    await registry?.close();
    await scene?.cluster.stop();
    await Promise.all(scene?.etcd.map((member) => member.stop()) ?? []);
    await scene?.network[Symbol.asyncDispose]();
    await dir?.remove();
  });

  it("never a wrong answer, never a failed one, and always whole again", async () => {
    await runFaults(scene, NETWORK_FAULTS, { registry, untilMs: untilMs() });
    await checkNoDegradedRows(scene.cluster, "executor-0");
  });
});
