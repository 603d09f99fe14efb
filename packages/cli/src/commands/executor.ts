import { type Logger } from "@shardserve/core";
import { type DegradedRows, LookupMetrics } from "@shardserve/lookup";
import type { ModelServer } from "@shardserve/model-server";
import {
  type ExecutorRecord,
  LeasedKeys,
  MapFollower,
  MAPS_PREFIX,
  type Registry as ClusterRegistry,
  SHARDS_PREFIX,
} from "@shardserve/registry";
import { type Address, advertisedAddress, bareHost, formatAddress } from "@shardserve/transport";
import { Registry } from "prom-client";
import { defineCommand } from "../command.js";
import { flag, type FlagValues, refusePositionals } from "../flags.js";
import { followLabels } from "../roles/executor/labels.js";
import { rollBackCluster } from "../roles/executor/rollback.js";
import { followTraffic } from "../roles/executor/traffic.js";
import { loadFollowed } from "../roles/executor/versions.js";
import { ClusterLoader } from "../roles/executor/cluster-loader.js";
import { HotRowsExchange } from "../roles/executor/hot-rows-exchange.js";
import { openEngines } from "../roles/serving/engines.js";
import { machineIdentity, newInstance } from "../roles/process/identity.js";
import { ModelFront, runUntilStopped } from "../roles/serving/model-front.js";
import { openRegistry, REGISTRY_FLAGS, STATE_FLAG, stateFile } from "../roles/flags/registry-flags.js";
import { openRedis, REDIS_FLAGS } from "../roles/flags/redis-flags.js";
import { ServedReport } from "../roles/executor/served-versions.js";
import { SERVING_FLAGS } from "../roles/flags/serving-flags.js";
import { openRepository, REPOSITORY_FLAGS } from "../roles/flags/repository-flags.js";
import { type DenseFiles, openDenseFiles } from "../roles/versions/dense-files.js";

const FLAGS = {
  id: flag.text("name of this executor, unique in the cluster", "ID"),
  ...REPOSITORY_FLAGS,
  dataDir: flag.text(
    "folder of this executor alone, for what it needs of a repository in s3:// or gs://; default none",
    "DIR",
    "",
  ),
  peerListen: flag.text(
    "where executors that start may ask which rows this one is asked for most; port 0 = any free one, empty = nowhere",
    "HOST:PORT",
    "",
  ),
  peerSslConfigFile: flag.text(
    "TLS between executors: an SSLConfig with custom_ca, of which both ends show a certificate",
    "FILE",
    "",
  ),
  advertisedHost: flag.text(
    "host that others reach this executor by (status, --peer-listen); default its own",
    "HOST",
    "",
  ),
  zone: flag.text("failure domain of this machine; replicas in it are preferred", "ZONE", ""),
  stateDir: STATE_FLAG,
  cacheBytes: flag.bytes("memory for cached rows, per version", 256 * 2 ** 20),
  cacheWarmUpSeconds: flag.number(
    "how long a version's cache may be filled with rows that the one before, or a peer, is asked for most; 0 = not at all",
    0,
    3_600,
    10,
  ),
  lookupTimeoutMs: flag.int("longest time for the rows of one batch", 1, 3_600_000, 5000),
  hedgePercent: flag.number(
    "lookups sent to a second replica when the first is late, per hundred; 0 = none",
    0,
    100,
    5,
  ),
  readyTimeoutSeconds: flag.int("how long a version waits for a replica of every partition", 1, 86_400, 60),
  allowDegraded: flag.oneOf(
    "what may stand in for rows that cannot be had: nothing, rows of an older epoch in Redis, or also zeros",
    ["none", "stale", "default"],
    "none",
  ),
  maxDegradedPercent: flag.number("rows of one lookup that may get either, per hundred", 0, 100, 100),
  staleRowsMaxAgeSeconds: flag.number(
    "how long ago an epoch may have been replaced for its rows to be used",
    0,
    86_400 * 365,
    60,
  ),
  ...REDIS_FLAGS,
  ...REGISTRY_FLAGS,
  ...SERVING_FLAGS,
};

type ExecutorFlags = Readonly<FlagValues<typeof FLAGS>>;

export const executor = defineCommand({
  name: "executor",
  summary: "Answers predict requests of sharded models, with rows from the cluster's shards",
  usage: "--etcd=HOSTS --id=ID --model_repository=BASE",
  examples: [
    "shardserve executor --etcd=e1:2379,e2:2379,e3:2379 --cluster=prod --id=executor-0 --model_repository=/models --port=8500 --rest_api_port=8501",
    "shardserve executor --etcd=e1:2379 --cluster=prod --id=executor-1 --model_repository=/models --peer-listen=0.0.0.0:8502 --peer-ssl-config-file=peers.cfg",
    "shardserve executor --etcd=e1:2379 --cluster=prod --id=executor-0 --model_repository=s3://bucket/models --data-dir=/var/lib/shardserve",
  ],
  flags: FLAGS,
  async run(positionals, flags, terminal) {
    refusePositionals("executor", positionals);
    const { logger, signal, environment } = terminal;
    const engines = await openEngines(flags, environment, logger);
    const registry = openRegistry(flags, `executor ${flags.id}`, environment, logger);
    const follower = openFollower(registry, flags, logger);
    const keys = new LeasedKeys(registry, { logger });
    const metrics = new Registry();
    const lookupMetrics = new LookupMetrics(metrics);
    follower.subscribe(() => (lookupMetrics.mapsSavedAtMs = follower.savedAtMs));
    const repository = openRepository(flags, terminal);
    const files = openDenseFiles(repository, flags.dataDir, logger);
    removeUnnamed(files, follower);
    const hotRows = await HotRowsExchange.open(flags, {
      registry,
      hottestOf: (model, version) => loader.hottestOf(model, version),
      logger,
    });
    const redis = openRedis(flags, environment, lookupMetrics, logger);
    const loader = new ClusterLoader({
      ...loaderSettings(flags),
      engines,
      machine: machineIdentity(),
      files,
      follower,
      redis,
      findPeer: (id, stop) => hotRows.find(id, stop),
      metrics: lookupMetrics,
      logger,
    });
    let front: ModelFront | undefined;
    let following: readonly (() => Promise<void>)[] = [];
    try {
      front = await ModelFront.open(loader, loadFollowed(follower, logger), flags, logger, {
        metrics,
        directoryOf: async (id) => (await files.open(id, signal)).directory,
        onRollback: (id, to) => void rollBackCluster(registry, id, to, logger, signal),
        areRowsElsewhere: true,
      });
      const { manager, server } = front;
      engines.pace.follow(() => server.requestCount);
      await hotRows.start({ signal });
      const report = new ServedReport(
        manager,
        keys,
        { id: flags.id, zone: flags.zone, instance: newInstance() },
        loader,
      );
      report.start();
      await front.start({ signal });
      report.listens(advertisedAddresses(flags, server, hotRows.address));
      following = [followLabels(registry, manager, logger), followTraffic(registry, manager, logger)];
      terminal.print(`executor ${flags.id}: ${front.describe(flags)}`);
      await runUntilStopped(front, terminal, flags.drainSeconds * 1000);
    } finally {
      await Promise.all(following.map((end) => end()));
      await hotRows.close();
      await front?.close();
      redis?.close();
      await keys.close();
      await follower.close();
      await registry.close();
      await repository.stored?.close();
    }
  },
});

/** Follows maps and shards, from the state files at first where the flags name a folder for them. */
function openFollower(registry: ClusterRegistry, { stateDir, cluster }: ExecutorFlags, logger: Logger): MapFollower {
  const maps = stateFile(stateDir, cluster, MAPS_PREFIX);
  const shards = stateFile(stateDir, cluster, SHARDS_PREFIX);
  return new MapFollower(registry, { logger, ...(maps && shards && { state: { maps, shards } }) });
}

/** Frees the disk of versions that the registry does not name; what a state file tells is not its word of now. */
function removeUnnamed(files: DenseFiles, follower: MapFollower): void {
  follower.subscribe(() => {
    if (follower.savedAtMs !== undefined) return;
    files.removeBeside(
      follower.models().flatMap((model) => follower.versions(model).map((version) => ({ model, version }))),
    );
  });
}

/** What the flags say of the rows of a version. */
function loaderSettings(flags: ExecutorFlags) {
  return {
    cluster: flags.cluster,
    id: flags.id,
    tags: flags.savedModelTags,
    cacheBytes: flags.cacheBytes,
    cacheWarmUpMs: flags.cacheWarmUpSeconds * 1000,
    lookupTimeoutMs: flags.lookupTimeoutMs,
    hedgeShare: flags.hedgePercent / 100,
    zone: flags.zone,
    redisFor: flags.redisFor,
    degraded: degradedRows(flags),
    readyTimeoutMs: flags.readyTimeoutSeconds * 1000,
  };
}

function degradedRows(flags: ExecutorFlags): DegradedRows | undefined {
  if (flags.allowDegraded === "none") return undefined;
  return {
    staleMaxAgeMs: flags.staleRowsMaxAgeSeconds * 1000,
    allowDefault: flags.allowDegraded === "default",
    shareMax: flags.maxDegradedPercent / 100,
  };
}

/** Where others reach this executor. */
function advertisedAddresses(
  { host, advertisedHost }: ExecutorFlags,
  { grpcPort, restPort }: ModelServer,
  peer: Address | undefined,
): ExecutorRecord["addresses"] {
  const advertised = (address: Address) => formatAddress(advertisedAddress(address, advertisedHost || undefined));
  return {
    ...(peer && { tcp: advertised(peer) }),
    grpc: advertised({ host: bareHost(host), port: grpcPort }),
    rest: advertised({ host: bareHost(host), port: restPort }),
  };
}
