import type { ClusterStatus, VersionStatus } from "@shardserve/controller";
import type { AspiredRecord } from "@shardserve/registry";
import { amount, table } from "../terminal.js";

/** What `status` prints of a cluster: its processes, its versions, and what operators asked for. */
export function describeCluster(cluster: string, found: ClusterStatus): string {
  const { shards, executors, models, missingShards } = found;
  const isEmpty = shards.length + executors.length + models.length + missingShards.length === 0;
  return [
    `cluster ${cluster}: leader ${found.leader ?? "none"}`,
    shardsText(found),
    ...(missingShards.length > 0 ? [`  missing: ${missingShards.join(", ")}`] : []),
    executorsText(found),
    versionsText(found),
    ...models.flatMap(wishLines),
    ...(isEmpty ? ["  nothing is registered under this name: is --cluster right?"] : []),
    ...found.unreadable.map((text) => `  unreadable: ${text}`),
  ].join("\n");
}

function shardsText({ shards }: ClusterStatus): string {
  const rows = shards.map(({ id, addresses, zone, partitionCount, bytes, isDraining }) => [
    `  ${id}`,
    addresses.tcp ?? "",
    zone,
    partitionCount,
    amount(bytes, "bytes"),
    isDraining ? "draining" : "",
  ]);
  return table([["  shard", "rows at", "zone", "partitions", "bytes", ""], ...rows]);
}

function executorsText({ executors }: ClusterStatus): string {
  const rows = executors.map(({ id, addresses, serving }) => [
    `  ${id}`,
    addresses.grpc ?? "not yet",
    serving.map(servedText).join(", "),
  ]);
  return table([["  executor", "gRPC at", "serving"], ...rows]);
}

/** "dlrm/3 available epoch 2 (1.2 GB)", with what went wrong. */
function servedText({ model, version, state, epoch, memoryBytes, error }: Served): string {
  const at = epoch === undefined || epoch === 0 ? "" : ` epoch ${epoch}`;
  const lacking = error ? ` (${error.code}: ${error.message})` : "";
  const memory = memoryBytes === undefined ? "" : ` (${amount(memoryBytes, "bytes")})`;
  return `${model}/${version} ${state}${at}${memory}${lacking}`;
}

type Served = ClusterStatus["executors"][number]["serving"][number];

function versionsText({ models }: ClusterStatus): string {
  const rows = models.flatMap(({ model, versions }) =>
    versions.map((version) => [
      `  ${model}/${version.version}`,
      version.state,
      version.generation,
      version.stagedEpoch === undefined ? version.epoch : `${version.epoch}, staging ${version.stagedEpoch}`,
      `${version.partitionCount} x ${version.replication}`,
      `${version.heldCount} of ${version.neededCount}`,
      amount(version.bytes, "bytes"),
      concernsOf(version).join(", "),
    ]),
  );
  return table([["  version", "state", "generation", "epoch", "partitions", "held", "bytes", ""], ...rows]);
}

/** What is under way with a version, or wrong. */
function concernsOf(version: VersionStatus): string[] {
  const { replication, movingCount, movesLeftCount, degradedCount, darkCount, estrangedShards, error, failures } =
    version;
  const concerns: string[] = [];
  if (version.isMoving) concerns.push(`moving ${movingCount} partitions, ${movesLeftCount} after them`);
  if (degradedCount > 0) concerns.push(`${degradedCount} partitions below ${replication} replicas`);
  if (darkCount > 0) concerns.push(`${darkCount} partitions without any replica`);
  if (estrangedShards.length > 0)
    concerns.push(`${estrangedShards.join(", ")} read another manifest: not yet this one, or another model repository`);
  if (error) concerns.push(`${error.code} on ${error.shard}: ${error.message}`);
  for (const { shard, code, message } of failures)
    if (shard !== error?.shard) concerns.push(`${code} on ${shard}: ${message}`);
  return concerns;
}

/** Labels and aspired versions, as operators wrote them. */
function wishLines({ model, labels, aspired, versions }: ClusterStatus["models"][number]): string[] {
  const named = Object.entries(labels ?? {}).map(([label, version]) => `${label}=${version}`);
  return [
    ...(named.length > 0 ? [`  labels of ${model}: ${named.join(" ")}`] : []),
    ...(aspired ? [`  wanted of ${model}: ${wantedText(aspired)}${absentText(aspired, versions)}`] : []),
  ];
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
