import { join, resolve } from "node:path";
import type { Logger } from "@shardserve/core";
import { ShardServer } from "@shardserve/shard";
import { Controller, RepositoryMirror } from "@shardserve/controller";
import { MAPS_PREFIX } from "@shardserve/registry";
import { formatAddress, parseAddress } from "@shardserve/transport";
import { defineCommand } from "../command.js";
import { flag, type FlagValues, refusePositionals } from "../flags.js";
import { checkFree, type Listening } from "../roles/process/free-addresses.js";
import { machineIdentity, newInstance } from "../roles/process/identity.js";
import { METRICS_FLAGS, MetricsEndpoint } from "../roles/process/metrics-endpoint.js";
import { runUntilStopped } from "../roles/serving/model-front.js";
import { openRegistry, REGISTRY_FLAGS, STATE_FLAG, stateFile } from "../roles/flags/registry-flags.js";
import { openTracing, TRACING_FLAGS } from "../roles/flags/tracing-flags.js";
import { type ModelRepository, openRepository, REPOSITORY_FLAGS } from "../roles/flags/repository-flags.js";

/** Below the data directory: what a leader knows of a repository in an object store. */
const MANIFESTS_DIR = "shardserve-manifests";

const FLAGS = {
  id: flag.text("name of this shard, unique in the cluster", "ID"),
  listen: flag.text("address of the row protocol; port 0 = any free one", "HOST:PORT", "0.0.0.0:8600"),
  unixSocket: flag.text("Unix socket for executors on this machine", "PATH", ""),
  grpcListen: flag.text("address of RowService over gRPC, for programs in other languages", "HOST:PORT", ""),
  advertisedHost: flag.text(
    "host that others reach this shard by; default the host of --listen, for 0.0.0.0 the machine's first address",
    "HOST",
    "",
  ),
  ...METRICS_FLAGS,
  ...TRACING_FLAGS,
  ...REPOSITORY_FLAGS,
  dataDir: flag.text(
    "folder of this shard alone, on a local disk, for copies of what it holds; s3:// and gs:// need one; default none",
    "DIR",
    "",
  ),
  stateDir: STATE_FLAG,
  capacity: flag.bytes("bytes of partitions that this shard may hold; 0 = no limit", 0),
  deltaBytes: flag.bytes("bytes of deltas in memory above which new epochs are refused; 0 = half of the memory", 0),
  zone: flag.text("failure domain of this machine", "ZONE", ""),
  weight: flag.number("share of the load relative to other shards", 0.01, 1000, 1),
  replication: flag.int("replicas of every partition, unless models/NAME/aspired says otherwise", 1, 16, 2),
  minShards: flag.int(
    "shards that must be there before the first version is placed; at least the replication",
    1,
    65_535,
    1,
  ),
  repositoryPollSeconds: flag.number("pause between looks for new versions in a folder, while leading", 0.1, 3_600, 1),
  objectStorePollSeconds: flag.number("the same where the repository is in s3:// or gs://", 0.1, 86_400, 60),
  settleSeconds: flag.number(
    "how long the set of shards must have been the same before anything is placed",
    0,
    3_600,
    2,
  ),
  replaceAfterSeconds: flag.number(
    "how long a dead shard may stay away before its partitions are copied",
    1,
    86_400,
    60,
  ),
  movesInFlight: flag.int(
    "partitions that may be on their way to other shards at once, over all models",
    1,
    131_072,
    64,
  ),
  moveBytesPerSecond: flag.bytes("rate at which this shard reads partitions that move to it; 0 = not limited", 0),
  retireAfterSeconds: flag.number("how long a replaced version stays loaded, for a quick way back", 0, 86_400, 30),
  drainSeconds: flag.int("how long lookups in flight may still take after SIGTERM", 0, 86_400, 30),
  ...REGISTRY_FLAGS,
};

type ShardFlags = Readonly<FlagValues<typeof FLAGS>>;

export const shard = defineCommand({
  name: "shard",
  summary: "Holds partitions of sharded models and serves their rows; any shard may lead the cluster",
  usage: "--etcd=HOSTS --id=ID --listen=HOST:PORT --model_repository=BASE",
  examples: [
    "shardserve shard --etcd=e1:2379,e2:2379,e3:2379 --cluster=prod --id=shard-0 --listen=0.0.0.0:8600 --model_repository=/models",
    "shardserve shard --etcd=localhost:2379 --id=shard-0 --model_repository=/mnt/models --data-dir=/var/lib/shardserve",
    "shardserve shard --etcd=localhost:2379 --id=shard-0 --model_repository=/models --otlp-endpoint=http://collector:4318/v1/traces",
    "shardserve shard --etcd=localhost:2379 --id=shard-0 --model_repository=s3://bucket/models --data-dir=/var/lib/shardserve --object-store-poll-seconds=30",
  ],
  flags: FLAGS,
  async run(positionals, flags, terminal) {
    refusePositionals("shard", positionals);
    const { logger, signal, environment } = terminal;
    const registry = openRegistry(flags, `shard ${flags.id}`, environment, logger);
    const repository = openRepository(flags, terminal);
    const tracing = await openTracing(flags, { samplingRate: 0, serviceName: "shardserve-shard" }, logger);
    const instance = newInstance();
    const server = new ShardServer({
      ...shardSettings(flags),
      ...repositorySettings(flags, repository),
      instance,
      machine: machineIdentity(),
      registry,
      ...(tracing && { spans: tracing }),
      logger,
    });
    const mirror = openMirror(flags, repository, logger);
    const controller = new Controller({
      registry,
      self: { id: flags.id, instance },
      repositoryDir: mirror?.directory ?? repository.base,
      ...(mirror && { refreshRepository: (stop: AbortSignal) => mirror.refresh(stop) }),
      settings: controllerSettings(flags, repository),
      metrics: server.metrics.registry,
      logger,
    });
    const metrics = MetricsEndpoint.from(flags, {
      registry: server.metrics.registry,
      isHealthy: () => server.isHealthy,
      isReady: () => server.isReady,
    });
    try {
      await checkFree(listening(flags));
      await server.start({ signal });
      await metrics?.start();
      await controller.start({ signal });
      const rows = `shard ${flags.id}: rows on ${server.addresses.map(formatAddress).join(", ")}`;
      terminal.print(metrics ? `${rows}, metrics on port ${metrics.port}` : rows);
      await runUntilStopped(server, terminal, flags.drainSeconds * 1000);
    } finally {
      await controller.close();
      await server.close();
      await tracing?.close().catch(() => undefined); // what a collector that is away does not get is dropped
      await metrics?.close();
      await registry.close();
      await repository.stored?.close();
    }
  },
});

/** What the flags say of the shard itself: where it listens and what it may hold. */
function shardSettings(flags: ShardFlags) {
  const state = stateFile(flags.stateDir, flags.cluster, MAPS_PREFIX);
  return {
    id: flags.id,
    cluster: flags.cluster,
    listen: flags.listen,
    ...(flags.unixSocket !== "" && { unixPath: resolve(flags.unixSocket) }),
    ...(flags.grpcListen !== "" && { grpcListen: flags.grpcListen }),
    ...(flags.advertisedHost !== "" && { advertisedHost: flags.advertisedHost }),
    ...(state && { state }),
    ...(flags.capacity > 0 && { capacityBytes: flags.capacity }),
    ...(flags.deltaBytes > 0 && { deltaBytesMax: flags.deltaBytes }),
    ...(flags.moveBytesPerSecond > 0 && { moveBytesPerSecond: flags.moveBytesPerSecond }),
    zone: flags.zone,
    weight: flags.weight,
  };
}

/** Where the shard reads versions, and where it keeps copies of them. */
function repositorySettings({ dataDir }: ShardFlags, { base, stored }: ModelRepository) {
  return {
    repository: base,
    ...(stored && { sourceOf: (model: string, version: number) => stored.version(model, version) }),
    ...(dataDir !== "" && { dataDir: resolve(dataDir) }),
  };
}

/** A leader reads an object store through a mirror on its disk; undefined = the repository is a folder. */
function openMirror(
  { dataDir }: ShardFlags,
  { stored }: ModelRepository,
  logger: Logger,
): RepositoryMirror | undefined {
  if (!stored) return undefined;
  const directory = join(resolve(dataDir), MANIFESTS_DIR);
  return new RepositoryMirror({ stores: stored.stores, uri: stored.uri, directory, logger });
}

/** What the flags say of the cluster, for as long as this shard leads it. */
function controllerSettings(flags: ShardFlags, { stored }: ModelRepository) {
  return {
    replication: flags.replication,
    minShards: Math.max(flags.minShards, flags.replication),
    pollMs: (stored ? flags.objectStorePollSeconds : flags.repositoryPollSeconds) * 1000,
    settleMs: flags.settleSeconds * 1000,
    replaceAfterMs: flags.replaceAfterSeconds * 1000,
    movesInFlightMax: flags.movesInFlight,
    retireAfterMs: flags.retireAfterSeconds * 1000,
  };
}

function listening(flags: ShardFlags): readonly Listening[] {
  const { listen, unixSocket, grpcListen } = flags;
  return [
    { flag: "--listen", address: parseAddress(listen) },
    ...(unixSocket === "" ? [] : [{ flag: "--unix-socket", address: { path: resolve(unixSocket) } }]),
    ...(grpcListen === "" ? [] : [{ flag: "--grpc-listen", address: parseAddress(grpcListen) }]),
    ...MetricsEndpoint.listening(flags),
  ];
}
