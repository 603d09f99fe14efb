import { resolve } from "node:path";
import { ServingError } from "@shardserve/core";
import { createHotRowsServer, LookupMetrics } from "@shardserve/lookup";
import { LeasedKeys, MapFollower, MAPS_PREFIX, SHARDS_PREFIX } from "@shardserve/registry";
import { type Address, advertisedAddress, bareHost, formatAddress, parseAddress } from "@shardserve/transport";
import { Registry } from "prom-client";
import type { Manager, ServableId } from "@shardserve/servable";
import { defineCommand } from "../command.js";
import { flag, refusePositionals } from "../flags.js";
import { followLabels } from "../roles/executor/labels.js";
import { rollBackCluster } from "../roles/executor/rollback.js";
import { followTraffic } from "../roles/executor/traffic.js";
import { ClusterLoader } from "../roles/executor/cluster-loader.js";
import { openEngines } from "../roles/serving/engines.js";
import { machineIdentity, newInstance } from "../roles/process/identity.js";
import { ModelFront, runUntilStopped } from "../roles/serving/model-front.js";
import { readIfNamed } from "../roles/flags/guard-flags.js";
import { findHotRows, parsePeerTls } from "../roles/executor/peer-executors.js";
import { openRegistry, REGISTRY_FLAGS, STATE_FLAG, stateFile } from "../roles/flags/registry-flags.js";
import { openRedis, REDIS_FLAGS } from "../roles/flags/redis-flags.js";
import { reportServedVersions } from "../roles/executor/served-versions.js";
import { SERVING_FLAGS } from "../roles/flags/serving-flags.js";
import { openRepository, REPOSITORY_FLAGS } from "../roles/flags/repository-flags.js";
import { CopiedDenseFiles, type DenseFiles, FolderDenseFiles } from "../roles/versions/dense-files.js";

export const executor = defineCommand({
  name: "executor",
  summary: "Answers predict requests of sharded models, with rows from the cluster's shards",
  usage: "--etcd=HOSTS --id=ID --model_repository=BASE",
  examples: [
    "shardserve executor --etcd=e1:2379,e2:2379,e3:2379 --cluster=prod --id=executor-0 --model_repository=/models --port=8500 --rest_api_port=8501",
    "shardserve executor --etcd=e1:2379 --cluster=prod --id=executor-1 --model_repository=/models --peer-listen=0.0.0.0:8502 --peer-ssl-config-file=peers.cfg",
    "shardserve executor --etcd=e1:2379 --cluster=prod --id=executor-0 --model_repository=s3://bucket/models --data-dir=/var/lib/shardserve",
  ],
  flags: {
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
  },
  async run(positionals, flags, terminal) {
    refusePositionals("executor", positionals);
    const { logger, signal } = terminal;
    const engines = await openEngines(flags, terminal.environment, logger);
    const registry = openRegistry(flags, `executor ${flags.id}`, terminal.environment, logger);
    const maps = stateFile(flags.stateDir, flags.cluster, MAPS_PREFIX);
    const shards = stateFile(flags.stateDir, flags.cluster, SHARDS_PREFIX);
    const follower = new MapFollower(registry, { logger, ...(maps && shards && { state: { maps, shards } }) });
    const keys = new LeasedKeys(registry, { logger });
    const machine = machineIdentity();
    const metrics = new Registry();
    const lookupMetrics = new LookupMetrics(metrics);
    follower.subscribe(() => (lookupMetrics.mapsSavedAtMs = follower.savedAtMs));
    const repository = openRepository(flags, terminal);
    const files: DenseFiles = repository.stored
      ? new CopiedDenseFiles(repository.stored, resolve(flags.dataDir), logger)
      : new FolderDenseFiles(repository.base);
    follower.subscribe(() => {
      if (follower.savedAtMs !== undefined) return; // what it is told is not the registry's word of now
      const versionsOf = (model: string) => follower.versions(model).map((version) => ({ model, version }));
      files.removeBeside(follower.models().flatMap(versionsOf));
    });
    const peerTls = await readIfNamed(flags.peerSslConfigFile, parsePeerTls);
    let tlsOfPeers = peerTls?.value;
    const redis = openRedis(flags, terminal.environment, lookupMetrics, logger);
    const loader = new ClusterLoader({
      engines,
      cluster: flags.cluster,
      id: flags.id,
      machine,
      files,
      tags: flags.savedModelTags,
      follower,
      cacheBytes: flags.cacheBytes,
      cacheWarmUpMs: flags.cacheWarmUpSeconds * 1000,
      lookupTimeoutMs: flags.lookupTimeoutMs,
      hedgeShare: flags.hedgePercent / 100,
      zone: flags.zone,
      redis,
      redisFor: flags.redisFor,
      degraded:
        flags.allowDegraded === "none"
          ? undefined
          : {
              staleMaxAgeMs: flags.staleRowsMaxAgeSeconds * 1000,
              allowDefault: flags.allowDegraded === "default",
              shareMax: flags.maxDegradedPercent / 100,
            },
      findPeer: (id, stop) => findHotRows(registry, flags.id, id, { tls: tlsOfPeers, signal: stop, logger }),
      readyTimeoutMs: flags.readyTimeoutSeconds * 1000,
      metrics: lookupMetrics,
      logger,
    });
    const whenLoaded = async (manager: Manager, stop: AbortSignal) => {
      followVersions(follower, manager);
      await follower.reach({ signal: stop });
      await manager.whenAvailable(follower.models(), { signal: stop }).catch((error: unknown) => {
        stop.throwIfAborted();
        logger.error(
          { error: ServingError.from(error).message },
          "not every model could be loaded; serving the others",
        );
      });
    };
    const directoryOf = async (id: ServableId) => (await files.open(id, signal)).directory;
    const peers =
      flags.peerListen === ""
        ? undefined
        : createHotRowsServer({
            peer: `executor ${flags.id}`,
            listen: parseAddress(flags.peerListen),
            tls: tlsOfPeers,
            hottestOf: (model, version) => loader.hottestOf(model, version),
            logger,
          });
    const peerTlsFile = peerTls?.watch((tls) => {
      tlsOfPeers = tls;
      peers?.replaceTls(tls);
    }, logger);
    let front: ModelFront | undefined;
    const onRollback = (id: ServableId, to: number) => void rollBackCluster(registry, id, to, logger, signal);
    const ends: (() => Promise<void>)[] = [];
    try {
      front = await ModelFront.open(loader, whenLoaded, flags, logger, {
        metrics,
        directoryOf,
        onRollback,
        areRowsElsewhere: true,
      });
      const { server } = front;
      engines.pace.follow(() => server.requestCount);
      await peers?.start({ signal });
      await peerTlsFile?.start({ signal });
      await front.start({ signal });
      const [peerAddress] = peers?.addresses ?? [];
      const advertised = (address: Address) =>
        formatAddress(advertisedAddress(address, flags.advertisedHost || undefined));
      const addresses = {
        ...(peerAddress && { tcp: advertised(peerAddress) }),
        grpc: advertised({ host: bareHost(flags.host), port: front.server.grpcPort }),
        rest: advertised({ host: bareHost(flags.host), port: front.server.restPort }),
      };
      reportServedVersions(
        front.manager,
        keys,
        { id: flags.id, instance: newInstance(), addresses, zone: flags.zone },
        loader,
      );
      ends.push(followLabels(registry, front.manager, logger), followTraffic(registry, front.manager, logger));
      terminal.print(`executor ${flags.id}: ${front.describe(flags)}`);
      await runUntilStopped(front, terminal, flags.drainSeconds * 1000);
    } finally {
      await Promise.all(ends.map((end) => end()));
      await peerTlsFile?.close();
      await peers?.close();
      await front?.close();
      redis?.close();
      await keys.close();
      await follower.close();
      await registry.close();
      await repository.stored?.close();
    }
  },
});

/** Every version with an enabled partition map is wanted; a map that goes takes its version along. */
function followVersions(follower: MapFollower, manager: Manager): void {
  let known = new Set<string>();
  const update = () => {
    const models = new Set(follower.models());
    for (const model of new Set([...known, ...models])) {
      manager.setAspired(
        model,
        follower.versions(model).map((version) => ({ version, path: "" })),
      );
    }
    known = models;
  };
  follower.subscribe(update);
  follower.start();
}
