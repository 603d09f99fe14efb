export { CopiedFiles, type CopiedFilesOptions } from "./files/copied-files.js";
export type { FileSource, OpenSource } from "./files/file-source.js";
export { StaleCopies } from "./files/stale-copies.js";
export { ShardMetrics } from "./metrics.js";
export { ShardServer, type ShardServerOptions } from "./shard-server.js";
export { RepositoryFiles, type VersionFiles } from "./files/version-files.js";
