/** A version on its way out: its successor answers, its time runs out, it is removed. */
import type { ExecutorRecord, VersionRecord } from "@shardserve/registry";
import type { Step } from "./step.js";
import type { VersionCase } from "./version-case.js";

/**
 * An enabled version that is no longer wanted.
 *
 * @param aspired  versions that are wanted, highest first; undefined = nothing is known of them
 */
export function retire(version: VersionCase, record: VersionRecord, aspired: number[] | undefined): Step | undefined {
  const { versions } = version.modelState;
  const successor = aspired?.find((other) => versions.get(other)?.record?.value.state === "enabled");
  if (aspired?.length !== 0 && successor === undefined) {
    return version.wait("it is replaced once its successor is enabled");
  }
  const { executors } = version.observed.state;
  const behind = successor === undefined ? [] : executorsBehind(executors.values(), version.model, successor);
  if (behind.length > 0) {
    return version.wait(`it is replaced once ${behind.join(", ")} can answer from version ${successor}`);
  }
  const why = successor === undefined ? "no version is wanted" : `version ${successor} is in use`;
  return version.step("retire", why, {
    record: { ...record, state: "retiring", changedAtMs: version.observed.nowMs },
  });
}

/** A version that was given its time of departure. */
export function leave(version: VersionCase, record: VersionRecord, isWanted: boolean): Step | undefined {
  const { nowMs, retiringForMs, settings } = version.observed;
  if (isWanted) {
    return version.step("reinstate", "it is wanted again", {
      record: { ...record, state: "enabled", changedAtMs: nowMs },
    });
  }
  const waitedMs = retiringForMs.get(version.state?.record?.modRevision ?? 0) ?? 0;
  return waitedMs < settings.retireAfterMs ? undefined : version.removal("its time is over");
}

/** Executors that answer for the model but not yet from `version`, sorted. */
function executorsBehind(executors: Iterable<ExecutorRecord>, model: string, version: number): string[] {
  const behind: string[] = [];
  for (const { id, serving } of executors) {
    const ours = serving.filter((served) => served.model === model && served.state !== "unloading");
    const available = ours.filter((served) => served.state === "available");
    // One that answers from no version yet, because it starts, has nothing to lose.
    if (available.length > 0 && !available.some((served) => served.version === version)) behind.push(id);
  }
  return behind.sort();
}
