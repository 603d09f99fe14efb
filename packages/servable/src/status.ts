import type { GrpcStatusName } from "@shardserve/core";

/** Public states of a version, tensorflow.serving.ModelVersionStatus.State by name. */
export type VersionState = "START" | "LOADING" | "AVAILABLE" | "UNLOADING" | "END";

/** What became of one version. */
export interface VersionStatus {
  readonly version: number;
  readonly state: VersionState;
  readonly error: { readonly code: GrpcStatusName; readonly message: string };
}

/** The error of a version that has none. */
export const NO_ERROR: VersionStatus["error"] = { code: "OK", message: "" };
