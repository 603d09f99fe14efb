/**
 * What the leader does next: a pure function of what it sees, at most one step out. Each step is one transaction on the
 * revisions it was decided from, so a step that was decided on old news is refused, and any leader can go on where
 * another stopped. docs/operations.md, "Rollout of a new version", tells it for operators; the states are VersionRecord's.
 */
import { type Pieces, runAtOnce } from "@shardserve/core";
import { levelKey } from "@shardserve/registry";
import type { ModelState } from "../observe/cluster-state.js";
import { leave, retire } from "./leave-steps.js";
import { load, stage } from "./load-steps.js";
import { maintain } from "./move-steps.js";
import { aspiredVersions } from "../observe/repository.js";
import type { Decision, Observed, Step, Waiting } from "./step.js";
import { VersionCase } from "./version-case.js";

/** The first step that can be taken, models and versions in order; and what all the others wait for. */
export function nextStep(observed: Observed): Decision {
  return runAtOnce(decide(observed));
}

/**
 * {@link nextStep} in pieces of a few milliseconds, for a leader that serves rows on the same event loop. What is observed is a
 * snapshot, so whatever happens between two pieces changes nothing of the decision; if it was overtaken, the step's own
 * comparisons refuse it.
 */
export function* decide(observed: Observed): Pieces<Decision> {
  const waiting: Waiting[] = [];
  const names = new Set([...observed.state.models.keys(), ...observed.repository.keys()]);
  for (const model of [...names].sort()) {
    const step = yield* stepOfModel(observed, model, waiting);
    if (step) return { step, waiting };
  }
  return { step: undefined, waiting };
}

const NO_MODEL: ModelState = { aspired: undefined, levelRevision: undefined, labels: undefined, versions: new Map() };

/** New versions come first, then those that are there, both from the highest down. */
function* stepOfModel(observed: Observed, model: string, waiting: Waiting[]): Pieces<Step | undefined> {
  const state = observed.state.models.get(model) ?? NO_MODEL;
  const aspired = aspiredOf(observed, model, state);
  noteAbsent(observed, model, state, waiting);
  for (const version of aspired ?? []) {
    if (state.versions.get(version)?.record) continue;
    const step = yield* stage(new VersionCase(observed, model, state, version, waiting));
    if (step) return step;
  }
  for (const version of [...state.versions.keys()].sort((a, b) => b - a)) {
    const step = yield* stepOfVersion(new VersionCase(observed, model, state, version, waiting), aspired);
    if (step) return step;
    yield;
  }
  return levelled(observed, model, state);
}

/**
 * Wanted versions, highest first; undefined = all that are there. Nobody stops a model by a version that is not there (yet, or any
 * more), but by asking for none: a version that is named counts while the registry has it, and where none is found, what is
 * there stays, but for what is on its way out.
 */
function aspiredOf({ repository }: Observed, model: string, { aspired, versions }: ModelState): number[] | undefined {
  const policy = aspired?.policy ?? { kind: "latest" as const, count: 1 };
  const registered = [...versions].filter(([, { record }]) => record).map(([version]) => version);
  const existing = new Set(repository.get(model)?.keys());
  if (policy.kind === "specific") for (const version of registered) existing.add(version);
  const found = aspiredVersions(policy, existing);
  if (found.length > 0 || (policy.kind === "specific" && policy.versions.length === 0)) return found;
  const staying = registered.filter((version) => versions.get(version)?.record?.value.state !== "retiring");
  return staying.length > 0 ? staying.sort((a, b) => b - a) : undefined;
}

/** Versions that an operator named and that are neither on disk nor in the registry. */
function noteAbsent(
  { repository }: Observed,
  model: string,
  { aspired, versions }: ModelState,
  waiting: Waiting[],
): void {
  if (aspired?.policy.kind !== "specific") return;
  for (const version of aspired.policy.versions) {
    if (repository.get(model)?.has(version) || versions.get(version)?.record) continue;
    waiting.push({ model, version, why: "it is wanted and not in the repository" });
  }
}

function* stepOfVersion(version: VersionCase, aspired: number[] | undefined): Pieces<Step | undefined> {
  const { state } = version;
  const record = state?.record?.value;
  if (!state || !record) return undefined;
  const isWanted = aspired === undefined || aspired.includes(version.version);
  if (record.state === "retiring") return leave(version, record, isWanted);
  if (record.state === "enabled") return isWanted ? yield* maintain(version, state) : retire(version, record, aspired);
  return isWanted ? yield* load(version, record) : version.removal("it is no longer wanted");
}

/** The wish to level goes once no enabled version has anything to move. */
function levelled({ settledForMs, settings }: Observed, model: string, state: ModelState): Step | undefined {
  const revision = state.levelRevision;
  if (revision === undefined || [...state.versions.values()].some(({ map }) => map?.value.staged)) return undefined;
  if (settledForMs < settings.settleMs) return undefined;
  const key = levelKey(model);
  return {
    kind: "levelled",
    model,
    version: Math.max(0, ...state.versions.keys()),
    why: "every shard has its share",
    compares: [{ key, modRevision: revision }],
    operations: [{ delete: key }],
  };
}
