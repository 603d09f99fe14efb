export { CopiedFiles, type CopiedFilesOptions } from "./copied-files.js";
export type { FileSource, OpenSource } from "./file-source.js";
export { ShardMetrics } from "./metrics.js";
export { ShardServer, type ShardServerOptions } from "./shard-server.js";
export { RepositoryFiles, type VersionFiles } from "./version-files.js";
