export * from "./file-fingerprint.js";
export { LoadedVersion, ServableHandle } from "./handle.js";
export type { Fingerprint } from "./harness.js";
export * from "./loader.js";
export * from "./manager.js";
export type { ManagerOptions } from "./manager-options.js";
export {
  type MemoryPlan,
  type MemoryState,
  memoryPlanOf,
  planMemory,
  totalBytes,
} from "./memory-plan.js";
export * from "./model.js";
export * from "./rows-report.js";
export * from "./policy.js";
export type { ProbationSettings } from "./probation.js";
export { type AspiredSet, type AspiredVersion, type ServableId, servableIdText } from "./servable-id.js";
export type { ServableRequest } from "./serving-map.js";
export * from "./source.js";
export type { VersionState, VersionStatus } from "./status.js";
export * from "./traffic.js";
