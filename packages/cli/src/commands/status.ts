import { clusterStatus } from "@shardserve/controller";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { openRegistry, REGISTRY_FLAGS } from "../roles/flags/registry-flags.js";
import { askServer, describeServed } from "../server-status.js";
import { describeCluster } from "./status-text.js";

export const status = defineCommand({
  name: "status",
  summary: "Shows a cluster: its leader, shards, executors, versions and what is moving; or one server",
  usage: "--etcd=HOSTS [--cluster=NAME] | --server=HOST:PORT",
  examples: [
    "shardserve status --etcd=e1:2379 --cluster=prod",
    "shardserve status --etcd=e1:2379 --json",
    "shardserve status --server=localhost:8501",
  ],
  flags: {
    ...REGISTRY_FLAGS,
    server: flag.text(
      "REST address of one server instead: its versions, their memory, its configuration; token in SHARDSERVE_TOKEN",
      "HOST:PORT",
      "",
    ),
    json: flag.bool("print everything as JSON"),
  },
  async run(positionals, flags, terminal) {
    refusePositionals("status", positionals);
    if (flags.server !== "") {
      const found = await askServer(flags.server, terminal.environment["SHARDSERVE_TOKEN"], terminal.signal);
      return terminal.print(flags.json ? JSON.stringify(found, undefined, 2) : describeServed(flags.server, found));
    }
    const registry = openRegistry(flags, "status", terminal.environment, terminal.logger);
    try {
      const found = await clusterStatus(registry, { signal: terminal.signal });
      terminal.print(flags.json ? JSON.stringify(found, undefined, 2) : describeCluster(flags.cluster, found));
    } finally {
      await registry.close();
    }
  },
});
