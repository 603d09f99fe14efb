import { compileConfig, option } from "@shardserve/core";

/** How the leader rolls out and repairs. All shards of a cluster should be started with the same. */
export interface ControllerSettings {
  /** Replicas per partition where a model's `aspired` record does not say. Default 2. */
  readonly replication: number;
  /** The first version is not placed before this many shards are there. Default: the replication. */
  readonly minShards: number;
  /** A shard that is gone for this long is replaced, in milliseconds. Default 60 s: a restart is quicker than a copy. */
  readonly replaceAfterMs: number;
  /** The set of shards must have been the same for this long before anything is placed on it. Default 2 s. */
  readonly settleMs: number;
  /** How long a replaced version stays after its successor is in use everywhere, for a quick way back. Default 30 s. */
  readonly retireAfterMs: number;
  /** Partitions of enabled versions that may be on their way to other shards at once, over all models. Default 64. */
  readonly movesInFlightMax: number;
  /** Between two looks at the model repository. Default 1 s (TensorFlow Serving's file_system_poll_wait_seconds). */
  readonly pollMs: number;
  /** How long a dead leader keeps the office, in seconds. Default 10. */
  readonly leaderTtlSeconds: number;
}

/** @throws ServingError CONFIG_INVALID */
export function controllerSettings(raw: Readonly<Partial<ControllerSettings>> = {}): ControllerSettings {
  return compileConfig<ControllerSettings>(
    "controller",
    {
      replication: option.int(1, 16, 2),
      minShards: option.int(1, 65_535, raw.replication ?? 2),
      replaceAfterMs: option.number(0, 86_400_000, 60_000),
      settleMs: option.number(0, 3_600_000, 2_000),
      retireAfterMs: option.number(0, 86_400_000, 30_000),
      movesInFlightMax: option.int(1, 131_072, 64),
      pollMs: option.number(10, 3_600_000, 1_000),
      leaderTtlSeconds: option.int(1, 3_600, 10),
    },
    raw,
    ({ minShards, replication: replicas }) => {
      if (minShards < replicas) throw new Error(`minShards ${minShards} is below the replication ${replicas}`);
    },
  );
}
