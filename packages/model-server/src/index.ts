export { type BatchingOptions, DEFAULT_BATCHING } from "./batching/options.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export { ModelServer, type ModelServerOptions } from "./model-server.js";
