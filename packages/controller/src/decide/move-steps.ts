/** An enabled version that stays: its deltas, and the moves of its partitions towards a better placement. */
import type { Pieces } from "@shardserve/core";
import { isSamePlacement, movedCount, type PartitionMap, towards } from "@shardserve/placement";
import { isAtRest, rest } from "./at-rest.js";
import type { VersionState } from "../observe/cluster-state.js";
import { epochStep } from "./epoch-steps.js";
import { inFlightCount } from "./moves-in-flight.js";
import { gained, lost, placed, refused, replicationOf, shardsFor, uneven } from "./placing.js";
import { describeProof, proveMap } from "./proof.js";
import type { Step } from "./step.js";
import type { VersionCase } from "./version-case.js";
import type { VersionContents } from "../observe/version-contents.js";

export function* maintain(version: VersionCase, state: VersionState): Pieces<Step | undefined> {
  const { enabled, staged, target } = version.map ?? {};
  if (!enabled) return version.wait("it is enabled but has no map; remove its keys to have it rolled out again");
  const { contents } = version;
  if (!contents) {
    // Without the manifest nothing new can be proved; what is served goes on.
    const why = lost(version, enabled) ?? (staged && "a move is staged");
    return why === undefined ? undefined : version.wait(`${why}; but the version is not in the model repository`);
  }
  // Deltas come before all else: after a lost history the epoch in force is found again before its map is raised.
  const epoch = stepOfDeltas(version, state, contents);
  if (epoch) return epoch;
  if (staged) return yield* finishMove(version, state, contents, { enabled, staged, target });
  if (version.heldGeneration >= enabled.generation) return raise(version, state, contents, enabled);
  if (target) {
    const outdated = lost(version, target) ?? gained(version, target);
    if (outdated !== undefined) return yield* rebalance(version, contents, enabled, outdated, { isLevelled: true });
    return move(version, "rebalance", {
      from: enabled,
      target,
      generation: enabled.generation + 1,
      why: "moves go on",
    });
  }
  return yield* improve(version, contents, enabled);
}

function stepOfDeltas(version: VersionCase, state: VersionState, contents: VersionContents): Step | undefined {
  const { shards, executors } = version.observed.state;
  const { enabled, staged } = version.map ?? {};
  const decision = epochStep(state, contents, {
    model: version.model,
    version: version.version,
    shards,
    executors: executors.values(),
    generation: Math.max(enabled?.generation ?? 0, staged?.generation ?? 0) + 1,
  });
  if (!decision) return undefined;
  if (decision.kind === "wait") return version.wait(decision.why);
  return version.step(decision.kind, decision.why, { map: decision.map });
}

/** Shards hold a generation that the registry has forgotten: the map in force gets a higher one. */
function raise(
  version: VersionCase,
  { holdings }: VersionState,
  contents: VersionContents,
  enabled: PartitionMap,
): Step | undefined {
  const held = version.heldGeneration;
  const why = `shards hold generation ${held} of a lost history`;
  const proof = proveMap(enabled, contents, holdings);
  if (!proof.isComplete) return version.wait(`${why}: ${describeProof(proof)}`);
  return version.step("raise", why, { map: { enabled: { ...enabled, generation: held + 1 } } });
}

/** A move that is staged: flipped once it is proved, planned anew when its end is no longer what is wanted. */
function* finishMove(
  version: VersionCase,
  { holdings }: VersionState,
  contents: VersionContents,
  { enabled, staged, target }: { enabled: PartitionMap; staged: PartitionMap; target: PartitionMap | undefined },
): Pieces<Step | undefined> {
  // What is only a part of the way may still name a shard that is leaving; the end of the way may not.
  const why = lost(version, target ?? staged);
  if (why !== undefined) return yield* rebalance(version, contents, enabled, why);
  const proof = proveMap(staged, contents, holdings, enabled);
  yield; // what follows compares whole maps
  if (!proof.isComplete) {
    const refusal = refused(version, enabled, target ?? staged);
    const other = refusal === undefined ? undefined : yield* rebalance(version, contents, enabled, refusal);
    return other ?? version.wait(`a move is staged: ${describeProof(proof)}`);
  }
  const step = flip(version, staged, target);
  return step && { ...step, movedBytes: movedCount(enabled, staged) * contents.partitionBytes };
}

/** Nothing moves: whether something should. */
function* improve(version: VersionCase, contents: VersionContents, enabled: PartitionMap): Pieces<Step | undefined> {
  const gone = lost(version, enabled);
  if (gone !== undefined) return yield* rebalance(version, contents, enabled, gone);
  const shards = shardsFor(version);
  const basis = [shards, replicationOf(version), version.modelState.levelRevision] as const;
  if (isAtRest(enabled, ...basis)) return undefined;
  const better = gained(version, enabled);
  if (better !== undefined) return yield* rebalance(version, contents, enabled, better);
  const level = uneven(version, enabled, contents, shards);
  if (level !== undefined) return yield* rebalance(version, contents, enabled, level, { isLevelled: true });
  // While a shard of it is away, nothing was looked at: it may come back before anything is moved.
  if (enabled.shards.every((id) => version.observed.state.shards.has(id))) rest(enabled, ...basis);
  return undefined;
}

/** Plans a new placement, and stages the first moves towards it. */
function* rebalance(
  version: VersionCase,
  contents: VersionContents,
  enabled: PartitionMap,
  why: string,
  { isLevelled = false } = {},
): Pieces<Step | undefined> {
  const { map } = version;
  const elsewhere = inFlightCount(version.observed.state, map);
  if (elsewhere >= version.observed.settings.movesInFlightMax) {
    // Placing is dear, and would be repeated each round until there is room.
    return version.wait(crowded(why, elsewhere));
  }
  const generation = Math.max(enabled.generation, map?.staged?.generation ?? 0, version.heldGeneration) + 1;
  const target = yield* placed(version, contents, { previous: enabled, generation, isLevelled });
  if (!target) return undefined;
  yield;
  if (!isSamePlacement(target, enabled)) {
    return move(version, "rebalance", { from: enabled, target, generation, why });
  }
  if (map?.staged ?? map?.target) return version.step("rebalance", why, { map: { enabled } });
  rest(enabled, shardsFor(version), replicationOf(version), version.modelState.levelRevision); // nothing of it moves
  return undefined;
}

function flip(version: VersionCase, staged: PartitionMap, target: PartitionMap | undefined): Step | undefined {
  const why = `generation ${staged.generation}`;
  if (!target || lost(version, target) !== undefined || gained(version, target) !== undefined) {
    return version.step("flip", why, { map: { enabled: staged } });
  }
  return move(version, "flip", { from: staged, target, generation: staged.generation + 1, why });
}

/** Stages as many of the moves from `from` to `target` as may be in flight now. */
function move(
  version: VersionCase,
  kind: "rebalance" | "flip",
  { from, target, generation, why }: { from: PartitionMap; target: PartitionMap; generation: number; why: string },
): Step | undefined {
  const { movesInFlightMax } = version.observed.settings;
  const elsewhere = inFlightCount(version.observed.state, version.map);
  if (elsewhere >= movesInFlightMax) {
    if (kind === "flip") return version.step(kind, why, { map: { enabled: from, target } });
    return version.wait(crowded(why, elsewhere));
  }
  const { map, leftCount } = towards(from, target, movesInFlightMax - elsewhere, generation);
  const left = leftCount > 0 ? `; ${leftCount} partitions move after these` : "";
  return version.step(kind, why + left, { map: { enabled: from, staged: map, ...(leftCount > 0 && { target }) } });
}

function crowded(why: string, elsewhere: number): string {
  return `${why}; but ${elsewhere} partitions of others move already (moves-in-flight)`;
}
