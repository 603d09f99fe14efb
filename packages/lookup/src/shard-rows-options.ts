import type { Clock, Logger, Random } from "@shardserve/core";
import type { TableInfo } from "@shardserve/rowstore";
import type { BufferPool, ProofExpectation, TransportLimits } from "@shardserve/transport";
import type { DegradedRows } from "./fetch/degraded.js";
import type { RedisFor } from "./fetch/fetch-context.js";
import type { LookupMetrics } from "./metrics.js";
import type { RedisLevel } from "./redis/redis-level.js";
import type { ShardDirectory } from "./replicas/shard-link.js";

/** What rows of one model version are fetched with; a cluster's executor makes one for each version it serves. */
export interface ShardRowsOptions {
  /** What a shard must prove: cluster, model, version, and digests from this executor's own manifest. */
  readonly expectation: ProofExpectation;
  /** Tables of the version, in the manifest's order. */
  readonly tables: readonly TableInfo[];
  readonly partitionCount: number;
  readonly directory: ShardDirectory;
  /** Identity of this machine: a shard with the same one is reached over its Unix socket. "" = TCP only. */
  readonly machine: string;
  /** Who asks, for the shards' logs: "executor executor-1". */
  readonly peer: string;
  /** Memory for cached rows over all tables, indexes included, in bytes; 0 = no cache. */
  readonly cacheBytes: number;
  /** Our failure domain: replicas in it are preferred; default "" = no preference. */
  readonly zone?: string;
  /** Frames that may be sent to a second replica because the first is late, as a share of all; 0 = none, default 0.05. */
  readonly hedgeShare?: number;
  /** Second level that executors share; absent = none. */
  readonly redis?: RedisLevel;
  /** Whether Redis is asked for every miss, or only for rows that no shard can give; default "misses". */
  readonly redisFor?: RedisFor;
  /** What may stand in for rows that cannot be had; absent = nothing: the lookup fails. */
  readonly degraded?: DegradedRows;
  /** Longest time that one lookup may take where the caller names no earlier deadline, in milliseconds; default 5000. */
  readonly timeoutMs?: number;
  /** How long a link that the map no longer names may finish what is in flight, in milliseconds; default 5000. */
  readonly drainMs?: number;
  /** How long `close` waits for leases, in milliseconds; default 30000. */
  readonly closeMs?: number;
  readonly pool?: BufferPool;
  readonly limits?: Partial<TransportLimits>;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly metrics?: LookupMetrics;
}
