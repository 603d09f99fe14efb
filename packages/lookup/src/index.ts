export { divideCache } from "./cache-budget.js";
export type { DegradedRows } from "./degraded.js";
export { proofExpectation } from "./expectation.js";
export type { RedisFor } from "./fetch.js";
export { LookupMetrics } from "./metrics.js";
export { RedisLevel, type RedisLevelOptions } from "./redis/redis-level.js";
export { type CacheClaim, RowCache } from "./row-cache.js";
export type { ShardDirectory, ShardLocation } from "./shard-link.js";
export { type CacheUse, type ChangedRows, ShardRows, type ShardRowsOptions } from "./shard-rows.js";
