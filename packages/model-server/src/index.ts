export { type BatchingOptions, DEFAULT_BATCHING } from "./batching/options.js";
export { ConfigFilePoll, type ConfigFilePollOptions } from "./config/config-file-poll.js";
export { ModelCatalog, type ModelCatalogOptions } from "./config/model-catalog.js";
export { type ConfiguredModel, configuredModels, readModelConfigFile } from "./config/model-config.js";
export { parseTextFormat } from "./config/text-format.js";
export type { Reload } from "./grpc/grpc-front.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export { ModelServer, type ModelServerOptions } from "./model-server.js";
