import { type ClusterStatus, clusterStatus } from "@shardserve/controller";
import type { AspiredRecord } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { openRegistry, REGISTRY_FLAGS } from "../roles/flags/registry-flags.js";
import { askServer, describeServed } from "../server-status.js";
import { amount, table } from "../terminal.js";

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
      terminal.print(flags.json ? JSON.stringify(found, undefined, 2) : describe(flags.cluster, found));
    } finally {
      await registry.close();
    }
  },
});

function describe(cluster: string, found: ClusterStatus): string {
  const lines = [`cluster ${cluster}: leader ${found.leader ?? "none"}`];
  const shards = found.shards.map(({ id, addresses, zone, partitionCount, bytes, isDraining }) => [
    `  ${id}`,
    addresses.tcp ?? "",
    zone,
    partitionCount,
    amount(bytes, "bytes"),
    isDraining ? "draining" : "",
  ]);
  lines.push(table([["  shard", "rows at", "zone", "partitions", "bytes", ""], ...shards]));
  if (found.missingShards.length > 0) lines.push(`  missing: ${found.missingShards.join(", ")}`);
  const executors = found.executors.map(({ id, addresses, serving }) => [
    `  ${id}`,
    addresses.grpc ?? "",
    serving
      .map(({ model, version, state, epoch, memoryBytes, error }) => {
        const at = epoch === undefined || epoch === 0 ? "" : ` epoch ${epoch}`;
        const lacking = error ? ` (${error.code}: ${error.message})` : "";
        const memory = memoryBytes === undefined ? "" : ` (${amount(memoryBytes, "bytes")})`;
        return `${model}/${version} ${state}${at}${memory}${lacking}`;
      })
      .join(", "),
  ]);
  lines.push(table([["  executor", "gRPC at", "serving"], ...executors]));
  const versions = found.models.flatMap(({ model, versions: all }) =>
    all.map((version) => [
      `  ${model}/${version.version}`,
      version.state,
      version.generation,
      version.stagedEpoch === undefined ? version.epoch : `${version.epoch}, staging ${version.stagedEpoch}`,
      `${version.partitionCount} x ${version.replication}`,
      `${version.heldCount} of ${version.neededCount}`,
      amount(version.bytes, "bytes"),
      [
        version.isMoving ? `moving ${version.movingCount} partitions, ${version.movesLeftCount} after them` : "",
        version.degradedCount > 0 ? `${version.degradedCount} partitions below ${version.replication} replicas` : "",
        version.darkCount > 0 ? `${version.darkCount} partitions without any replica` : "",
        version.estrangedShards.length > 0
          ? `${version.estrangedShards.join(", ")} read another manifest: not yet this one, or another model repository`
          : "",
        version.error ? `${version.error.code} on ${version.error.shard}: ${version.error.message}` : "",
        ...version.failures
          .filter(({ shard }) => shard !== version.error?.shard)
          .map(({ shard, code, message }) => `${code} on ${shard}: ${message}`),
      ]
        .filter((text) => text !== "")
        .join(", "),
    ]),
  );
  lines.push(table([["  version", "state", "generation", "epoch", "partitions", "held", "bytes", ""], ...versions]));
  for (const { model, labels, aspired, versions: all } of found.models) {
    const named = Object.entries(labels ?? {}).map(([label, version]) => `${label}=${version}`);
    if (named.length > 0) lines.push(`  labels of ${model}: ${named.join(" ")}`);
    if (aspired) lines.push(`  wanted of ${model}: ${wantedText(aspired)}${absentText(aspired, all)}`);
  }
  if (found.shards.length + found.executors.length + found.models.length + found.missingShards.length === 0) {
    lines.push(`  nothing is registered under this name: is --cluster right?`);
  }
  for (const text of found.unreadable) lines.push(`  unreadable: ${text}`);
  return lines.join("\n");
}

/** Versions that are named in a wish and that the cluster has not found. */
function absentText({ policy }: AspiredRecord, versions: readonly { readonly version: number }[]): string {
  if (policy.kind !== "specific") return "";
  const absent = policy.versions.filter((wanted) => !versions.some(({ version }) => version === wanted));
  return absent.length === 0 ? "" : `; not found: ${absent.join(", ")}`;
}

/** A wish in the words of the command `want`. */
function wantedText({ policy, replication }: AspiredRecord): string {
  const versions = policy.kind === "specific" ? policy.versions.join(",") : policy.kind;
  const count = policy.kind === "latest" ? `:${policy.count}` : "";
  return `--versions=${versions}${count}${replication === undefined ? "" : ` --replication=${replication}`}`;
}
