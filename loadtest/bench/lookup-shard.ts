import { mapKey, mapRecord, MemoryRegistry } from "@shardserve/registry";
import { place } from "@shardserve/placement";
import { ShardServer } from "@shardserve/shard";

/**
 * The shard of `bench lookup`, a process of its own that holds every partition of one version.
 *
 *     node lookup-shard.js REPOSITORY CLUSTER MODEL VERSION PARTITIONS   prints its port, runs until its standard input closes
 */
const [repository, cluster, model, version, partitions] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const registry = new MemoryRegistry();
const shard = new ShardServer({
  id: "bench",
  cluster,
  instance: "bench",
  machine: "",
  listen: "127.0.0.1:0",
  registry,
  repository,
});
await shard.start();
const identity = { model, version: Number(version), generation: 1 };
const enabled = place([{ id: "bench", weight: 1, zone: "" }], Number(partitions), 1, identity);
await registry.txn([], [{ put: mapKey(model, Number(version)), value: mapRecord.encode({ enabled }) }]);
while ((shard.holdings.get(`${model}/${version}`)?.length ?? 0) < Number(partitions)) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
const address = shard.addresses[0];
console.log(address && "port" in address ? address.port : "none");
process.stdin.on("close", () => process.exit(0)).resume();
