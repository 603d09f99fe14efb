/**
 * Which version to load or unload next. Pure functions of a snapshot, at most one action out; the rules are TensorFlow
 * Serving's (core/availability_preserving_policy.cc, core/resource_preserving_policy.cc).
 */

/** States of a version inside the manager (TensorFlow Serving's LoaderHarness, without its unused approvals). */
export type HarnessState = "new" | "loading" | "ready" | "quiescing" | "unloading" | "disabled" | "error";

/** A version as a policy sees it. */
export interface VersionSnapshot {
  readonly version: number;
  readonly state: HarnessState;
  readonly isAspired: boolean;
}

/** One transition. */
export interface PolicyAction {
  readonly action: "load" | "unload";
  readonly version: number;
}

/** Stateless; asked once per model and step with all versions that the manager holds. */
export type AspiredVersionPolicy = (versions: readonly VersionSnapshot[]) => PolicyAction | undefined;

/**
 * Never leaves a model without a ready version while one is wanted: a new version loads beside the old one, the old one
 * goes once the new one is ready. Peak memory is both. The default.
 */
export const availabilityPreserving: AspiredVersionPolicy = (versions) => {
  const unwanted = versions.filter((entry) => !entry.isAspired && entry.state === "ready");
  const isSomeAspired = versions.some((entry) => entry.isAspired);
  const isAspiredReady = versions.some((entry) => entry.isAspired && entry.state === "ready");
  if (unwanted.length > 0 && (!isSomeAspired || isAspiredReady || unwanted.length > 1)) {
    return { action: "unload", version: Math.min(...unwanted.map((entry) => entry.version)) };
  }
  return loadHighest(versions);
};

/** Never holds two versions: unloads first, waits until they are gone, then loads. There is a gap in service. */
export const resourcePreserving: AspiredVersionPolicy = (versions) => {
  const unwanted = versions.filter((entry) => !entry.isAspired);
  const ready = unwanted.filter((entry) => entry.state === "ready");
  if (ready.length > 0) return { action: "unload", version: Math.min(...ready.map((entry) => entry.version)) };
  if (unwanted.some((entry) => entry.state !== "disabled" && entry.state !== "error")) return undefined;
  return loadHighest(versions);
};

function loadHighest(versions: readonly VersionSnapshot[]): PolicyAction | undefined {
  const fresh = versions.filter((entry) => entry.isAspired && entry.state === "new");
  return fresh.length === 0 ? undefined : { action: "load", version: Math.max(...fresh.map((entry) => entry.version)) };
}
