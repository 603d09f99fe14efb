import { type Clock, systemClock } from "@shardserve/core";
import { EpochMetrics } from "./epoch-metrics.js";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** Numbers of one shard in Prometheus form. */
export class ShardMetrics {
  readonly registry: Registry;
  /** Lookups by protocol (frame, grpc) and outcome (OK or the error's code). */
  readonly requests: Counter<"protocol" | "code">;
  readonly rows: Counter<"model">;
  readonly bytes: Counter<"model">;
  /** Lookups refused before any row was read, by code. */
  readonly refused: Counter<"code">;
  readonly gatherSeconds: Histogram<"path">;
  readonly replyBytesInFlight: Gauge;
  readonly partitions: Gauge<"model" | "version">;
  readonly mappedBytes: Gauge;
  readonly loadFailures: Counter<"model" | "code">;
  /** Bytes copied to the shard's own disk, from a peer or the repository. */
  readonly copiedBytes: Counter<"from">;
  /** Deltas in memory. */
  readonly epochs: EpochMetrics;
  /** When the maps that are followed were saved, wall clock; undefined = they come from the registry. */
  mapsSavedAtMs: number | undefined;

  constructor(registry: Registry = new Registry(), clock: Clock = systemClock) {
    this.registry = registry;
    const registers = [registry];
    this.requests = new Counter({
      name: "shardserve_shard_requests_total",
      help: "Lookups answered, by protocol (frame or grpc) and outcome.",
      labelNames: ["protocol", "code"],
      registers,
    });
    this.rows = new Counter({
      name: "shardserve_shard_rows_total",
      help: "Rows sent.",
      labelNames: ["model"],
      registers,
    });
    this.bytes = new Counter({
      name: "shardserve_shard_row_bytes_total",
      help: "Bytes of rows sent.",
      labelNames: ["model"],
      registers,
    });
    this.refused = new Counter({
      name: "shardserve_shard_refused_total",
      help: "Lookups refused before any row was read, by reason.",
      labelNames: ["code"],
      registers,
    });
    this.gatherSeconds = new Histogram({
      name: "shardserve_shard_gather_seconds",
      help: "Time to gather the rows of a lookup, or of small ones that arrived together; path is loop or pool (another thread).",
      labelNames: ["path"],
      buckets: [0.00001, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1],
      registers,
    });
    this.replyBytesInFlight = new Gauge({
      name: "shardserve_shard_reply_bytes_in_flight",
      help: "Bytes of replies being gathered or not yet read by their callers: the queue, bounded by admission.",
      registers,
    });
    this.partitions = new Gauge({
      name: "shardserve_shard_partitions",
      help: "Partitions mapped, verified and served.",
      labelNames: ["model", "version"],
      registers,
    });
    this.mappedBytes = new Gauge({
      name: "shardserve_shard_mapped_bytes",
      help: "Bytes of partition files that are mapped.",
      registers,
    });
    this.loadFailures = new Counter({
      name: "shardserve_shard_load_failures_total",
      help: "Partitions or manifests that were refused, by code.",
      labelNames: ["model", "code"],
      registers,
    });
    this.copiedBytes = new Counter({
      name: "shardserve_shard_copied_bytes_total",
      help: "Bytes copied to --data-dir, from a shard that has them (from peer) or from the model repository (from repository).",
      labelNames: ["from"],
      registers,
    });
    this.epochs = new EpochMetrics(registry);
    const age = new Gauge({
      name: "shardserve_shard_map_age_seconds",
      help: "Age of the partition maps taken from --state-dir because the registry is away; 0 = they are the registry's.",
      registers,
      collect: () => {
        const savedAtMs = this.mapsSavedAtMs;
        age.set(savedAtMs === undefined ? 0 : (clock.wallMs() - savedAtMs) / 1000);
      },
    });
  }
}
