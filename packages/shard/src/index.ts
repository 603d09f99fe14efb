export { ShardMetrics } from "./metrics.js";
export { ShardServer, type ShardServerOptions } from "./shard-server.js";
