import type { Harness } from "./harness.js";
import { judge, type ProbationSettings } from "./probation.js";
import type { AspiredSet } from "./servable-id.js";

type Harnesses = ReadonlyMap<number, Harness>;

/** A version that is watched, and the one before it. */
export interface Probation {
  readonly candidate: Harness;
  readonly before: Harness;
}

/** The version of a model that is watched, while there is one before it. */
export function onProbation(
  harnesses: Harnesses,
  settings: ProbationSettings | undefined,
  nowMs: number,
): Probation | undefined {
  if (!settings) return undefined;
  const [candidate, before] = readyOnes(harnesses);
  if (!candidate || !before || before.readyAtMs > candidate.readyAtMs) return undefined;
  return nowMs - candidate.readyAtMs >= settings.durationMs ? undefined : { candidate, before };
}

/** Why the watched version has to go; undefined = it may stay. */
export function verdictOn({ candidate, before }: Probation, settings: ProbationSettings): string | undefined {
  return judge(candidate.ready!.outcomes.summary(), before.ready!.outcomes.summary(), settings);
}

/** A version that is not wanted, but not to be let go: the one before a version on probation, or one rolled back. */
export function keptVersion(
  aspired: AspiredSet,
  harnesses: Harnesses,
  watched: Probation | undefined,
): Harness | undefined {
  if (aspired.length === 0) return undefined;
  const isRolledBack = aspired.every(({ version }) => harnesses.get(version)?.isCondemned);
  return isRolledBack ? readyOnes(harnesses)[0] : watched?.before;
}

/** Highest first. */
function readyOnes(harnesses: Harnesses): Harness[] {
  const ready = [...harnesses.values()].filter(({ state }) => state === "ready");
  return ready.sort((a, b) => b.id.version - a.id.version);
}
