import { type Clock, systemClock } from "@shardserve/core";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

const SECONDS_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/** Counters of all row sources of a process; make one and share it. */
export class LookupMetrics {
  readonly requests: Counter<"model" | "code">;
  readonly rows: Counter<"model" | "source">;
  readonly seconds: Histogram<"model">;
  readonly shardSeconds: Histogram;
  readonly retries: Counter<"code">;
  readonly hedges: Counter<"outcome">;
  readonly circuits: Counter<"shard">;
  readonly redisReads: Counter<"outcome">;
  readonly redisRows: Counter<"outcome">;
  readonly redisWrites: Counter<"outcome">;
  readonly redisSeconds: Histogram;
  readonly compact: Counter<"model">;
  readonly cacheShifts: Counter<"model">;
  /** When the maps that are followed were saved, wall clock; undefined = they come from the registry. */
  mapsSavedAtMs: number | undefined;

  constructor(registry: Registry = new Registry(), clock: Clock = systemClock) {
    const registers = [registry];
    this.requests = new Counter({
      name: "shardserve_lookup_requests_total",
      help: "Row lookups of batches, by outcome (OK or the error's code).",
      labelNames: ["model", "code"],
      registers,
    });
    this.rows = new Counter({
      name: "shardserve_lookup_rows_total",
      help: "Distinct rows that batches needed, by where they were found: cache, shard, redis, stale or default.",
      labelNames: ["model", "source"],
      registers,
    });
    this.seconds = new Histogram({
      name: "shardserve_lookup_seconds",
      help: "Time of a batch's lookup, cache hits included.",
      labelNames: ["model"],
      buckets: SECONDS_BUCKETS,
      registers,
    });
    this.shardSeconds = new Histogram({
      name: "shardserve_lookup_shard_seconds",
      help: "Time from sending a frame to a shard to its reply.",
      buckets: SECONDS_BUCKETS,
      registers,
    });
    this.retries = new Counter({
      name: "shardserve_lookup_retries_total",
      help: "Frames whose rows were asked of another replica, by the reason.",
      labelNames: ["code"],
      registers,
    });
    this.hedges = new Counter({
      name: "shardserve_lookup_hedges_total",
      help: "Second frames to other replicas, by outcome: won, lost, failed, or refused by the budget.",
      labelNames: ["outcome"],
      registers,
    });
    this.circuits = new Counter({
      name: "shardserve_lookup_circuits_opened_total",
      help: "How often a shard was found failing or far too slow, and is avoided since.",
      labelNames: ["shard"],
      registers,
    });
    this.redisReads = new Counter({
      name: "shardserve_redis_reads_total",
      help: "Reads of lookups from Redis: ok, late (over the budget), failed, or skipped because it is left alone.",
      labelNames: ["outcome"],
      registers,
    });
    this.redisRows = new Counter({
      name: "shardserve_redis_rows_total",
      help: "Rows that Redis was asked for: hit, miss, or damaged (not used).",
      labelNames: ["outcome"],
      registers,
    });
    this.redisWrites = new Counter({
      name: "shardserve_redis_written_rows_total",
      help: "Rows of shards on their way to Redis: written, failed, or dropped because there was no time.",
      labelNames: ["outcome"],
      registers,
    });
    this.redisSeconds = new Histogram({
      name: "shardserve_redis_seconds",
      help: "Time that lookups waited for Redis.",
      buckets: SECONDS_BUCKETS,
      registers,
    });
    this.compact = new Counter({
      name: "shardserve_lookup_compact_total",
      help: "Tables of batches that did not fit into the cache and got a buffer of their own.",
      labelNames: ["model"],
      registers,
    });
    this.cacheShifts = new Counter({
      name: "shardserve_lookup_cache_shifts_total",
      help: "Tables whose part of the cache was changed because memory is worth more elsewhere.",
      labelNames: ["model"],
      registers,
    });
    const age = new Gauge({
      name: "shardserve_lookup_map_age_seconds",
      help: "Age of the partition maps taken from --state-dir because the registry is away; 0 = they are the registry's.",
      registers,
      collect: () => {
        const savedAtMs = this.mapsSavedAtMs;
        age.set(savedAtMs === undefined ? 0 : (clock.wallMs() - savedAtMs) / 1000);
      },
    });
  }
}
