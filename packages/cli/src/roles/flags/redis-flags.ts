import { type Logger, ServingError, systemClock, systemRandom } from "@shardserve/core";
import { type LookupMetrics, RedisLevel } from "@shardserve/lookup";
import { Cluster, Redis } from "ioredis";
import { type FlagValues, flag } from "../../flags.js";
import { readFlagFile } from "./flag-file.js";

/** Flags of the second level of rows. */
export const REDIS_FLAGS = {
  redis: flag.list(
    "Redis that executors share rows by: HOST:PORT, or several with commas; none = not used",
    "HOSTS",
    [],
  ),
  redisMode: flag.oneOf(
    "what those hosts are: one server, sentinels, or nodes of a Redis Cluster",
    ["single", "sentinel", "cluster"],
    "single",
  ),
  redisSentinelName: flag.text("name under which the sentinels watch the master", "NAME", "mymaster"),
  redisFor: flag.oneOf(
    "ask Redis for every row that is not cached, or only for rows that no shard can give",
    ["misses", "dark"],
    "misses",
  ),
  redisBudgetMs: flag.number("longest time that a lookup waits for Redis", 0.1, 60_000, 5),
  redisTtlSeconds: flag.int("how long Redis keeps a row", 1, 365 * 86_400, 86_400),
  redisTls: flag.bool("encrypt the connections to Redis"),
  redisCa: flag.text("PEM file of the authority that signed Redis's certificate; turns TLS on", "FILE", ""),
  redisUser: flag.text("Redis user; the password comes from SHARDSERVE_REDIS_PASSWORD", "NAME", ""),
};

export type RedisFlags = Readonly<FlagValues<typeof REDIS_FLAGS>>;

/** A connection that has not answered for so long is made anew. */
const SILENT_MS = 10_000;
const RETRY_MAX_MS = 2_000;

/**
 * Connects to the Redis that the flags name, in the background; undefined when they name none.
 *
 * @throws ServingError CONFIG_INVALID for a host without a port, or several for a single server
 */
export function openRedis(
  flags: RedisFlags,
  environment: Readonly<Record<string, string | undefined>>,
  metrics: LookupMetrics,
  logger: Logger,
): RedisLevel | undefined {
  if (flags.redis.length === 0) return undefined;
  const hosts = flags.redis.map(parseHost);
  if (flags.redisMode === "single" && hosts.length > 1) {
    throw new ServingError("CONFIG_INVALID", "--redis names several hosts: say --redis-mode=sentinel or cluster");
  }
  const random = systemRandom();
  const password = environment["SHARDSERVE_REDIS_PASSWORD"];
  const retryStrategy = (attempt: number) =>
    Math.min(RETRY_MAX_MS, 50 * 2 ** Math.min(attempt, 10)) * (0.5 + 0.5 * random.next());
  const tls = flags.redisTls || flags.redisCa !== "" ? tlsOptions(flags.redisCa) : undefined;
  const options = {
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    socketTimeout: SILENT_MS,
    connectionName: "shardserve",
    ...(password !== undefined && { password }),
    ...(flags.redisUser !== "" && { username: flags.redisUser }),
    ...(tls && { tls }),
  };
  const own = { ...options, enableOfflineQueue: false, retryStrategy };
  const client = (() => {
    if (flags.redisMode === "cluster") {
      const cluster = { enableOfflineQueue: false, clusterRetryStrategy: retryStrategy, redisOptions: options };
      return new Cluster(hosts, cluster);
    }
    if (flags.redisMode === "single") return new Redis({ ...own, ...(hosts[0] as HostPort) });
    return new Redis({
      ...own,
      sentinels: hosts,
      name: flags.redisSentinelName,
      sentinelRetryStrategy: retryStrategy,
      ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    });
  })();
  return new RedisLevel({
    client,
    isCluster: flags.redisMode === "cluster",
    budgetMs: flags.redisBudgetMs,
    ttlSeconds: flags.redisTtlSeconds,
    clock: systemClock,
    random,
    metrics,
    logger,
  });
}

interface HostPort {
  readonly host: string;
  readonly port: number;
}

function parseHost(text: string): HostPort {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  if (!match) throw new ServingError("CONFIG_INVALID", `--redis: "${text}" is not HOST:PORT`);
  return { host: (match[1] ?? match[2]) as string, port: Number(match[3]) };
}

function tlsOptions(caFile: string): { ca?: Buffer } {
  return caFile === "" ? {} : { ca: readFlagFile("--redis-ca", caFile) };
}
