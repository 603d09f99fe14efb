import type { SimulationOptions } from "./simulation.js";

type Size = Omit<SimulationOptions, "seed" | "realMs">;

const SETTINGS = { replication: 2, settleMs: 2_000, replaceAfterMs: 60_000, retireAfterMs: 30_000 };

/** 1000 shards, 100 executors, ten models of 1 TB. */
export const LARGE: Size = {
  shardCount: 1000,
  executorCount: 100,
  zoneCount: 5,
  models: Array.from({ length: 10 }, (_, i) => ({
    name: `model-${i}`,
    partitionCount: 4001,
    partitionBytes: Math.round(1e12 / 4001),
  })),
  loadBytesPerSecond: 500e6,
  settings: { ...SETTINGS, minShards: 1000, movesInFlightMax: 512 },
};

/** What continuous integration runs in seconds. */
export const SMALL: Size = {
  shardCount: 30,
  executorCount: 4,
  zoneCount: 3,
  models: [
    { name: "model-0", partitionCount: 401, partitionBytes: 64e6 },
    { name: "model-1", partitionCount: 211, partitionBytes: 128e6 },
  ],
  loadBytesPerSecond: 500e6,
  settings: { ...SETTINGS, minShards: 30, movesInFlightMax: 32 },
};
