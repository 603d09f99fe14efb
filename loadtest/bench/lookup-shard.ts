import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { mapKey, mapRecord, MemoryRegistry } from "@shardserve/registry";
import { place } from "@shardserve/placement";
import { ShardServer } from "@shardserve/shard";

/**
 * The shard of `bench lookup`, a process of its own that holds every partition of one version.
 *
 *     node lookup-shard.js REPOSITORY CLUSTER MODEL VERSION PARTITIONS   prints its port, runs until its standard input closes
 *
 * For a line on standard input it prints "loop LINE P99 MAX": the event loop's delay since the last one, in milliseconds.
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
const RESOLUTION_MS = 1;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
const delayMs = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS).toFixed(2);
createInterface({ input: process.stdin })
  .on("line", (line) => {
    console.log(`loop ${line} ${delayMs(delay.percentile(99))} ${delayMs(delay.max)}`);
    delay.reset();
  })
  .on("close", () => process.exit(0));
