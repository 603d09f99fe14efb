export {
  type ClusterState,
  readClusterState,
  type ModelState,
  type Stored,
  type VersionState,
} from "./observe/cluster-state.js";
export * from "./decide/drain.js";
export * from "./invariants.js";
export { moveCounts, type MoveCounts } from "./decide/moves-in-flight.js";
export * from "./decide/next-step.js";
export * from "./decide/step.js";
export * from "./observe/repository.js";
export * from "./observe/repository-mirror.js";
export { RefusalWatch } from "./observe/refusal-watch.js";
export * from "./observe/retire-watch.js";
export * from "./settings.js";
export * from "./observe/shard-watch.js";
export * from "./observe/version-contents.js";
export * from "./cluster-status.js";
export * from "./controller.js";
export * from "./decide/plan.js";
