/**
 * What the leader does next: a pure function of what it sees, at most one step out. Each step is one transaction on the
 * revisions it was decided from, so a step that was decided on old news is refused, and any leader can go on where
 * another stopped. docs/architecture.md, "Cluster"; the states are VersionRecord's.
 */
import { isServingError } from "@shardserve/core";
import {
  isSamePlacement,
  movedCount,
  type PartitionMap,
  type PlacementShard,
  loadOf,
  place,
  quotas,
  towards,
  unionLoads,
} from "@shardserve/placement";
import {
  type Compare,
  type Delete,
  type ExecutorRecord,
  levelKey,
  type MapRecord,
  mapKey,
  mapRecord,
  type Put,
  type VersionRecord,
  versionKey,
  versionRecord,
} from "@shardserve/registry";
import type { ClusterState, ModelState, VersionState } from "./cluster-state.js";
import { epochStep, recalledEpoch } from "./epoch-steps.js";
import { inFlightCount } from "./moves-in-flight.js";
import { type Proof, proveMap } from "./proof.js";
import { aspiredVersions, type RepositoryContents } from "./repository.js";
import type { ControllerSettings } from "./settings.js";
import type { VersionContents } from "./version-contents.js";

/** Everything that a decision rests on. */
export interface Observed {
  readonly state: ClusterState;
  readonly repository: RepositoryContents;
  /** For how long shards that maps name have been gone, or came and went, in milliseconds, by id, as far as this leader saw. */
  readonly absentForMs: ReadonlyMap<string, number>;
  /** Shards whose registration came and went too often of late: they get nothing new (ShardWatch). */
  readonly unsteady: ReadonlySet<string>;
  /** For how long the set of shards that can be placed on has been the same, in milliseconds. */
  readonly settledForMs: number;
  /** For how long versions have waited for their departure, in milliseconds, by revision of their record (RetireWatch). */
  readonly retiringForMs: ReadonlyMap<number, number>;
  /** Wall clock, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly settings: ControllerSettings;
}

/**
 * - `stage`: a new version is placed and its shards are told to load.
 * - `restage`: what is staged is placed anew: a shard of it is gone, or the version on disk changed.
 * - `prove`: every replica is proved; staged or failed becomes loaded.
 * - `enable`: loaded becomes enabled; executors may use it.
 * - `fail`: a shard refused the version.
 * - `rebalance`: an enabled version gets a new placement beside the one in force.
 * - `flip`: that placement is proved and becomes the one in force; the next moves towards the target are staged with it.
 * - `levelled`: an operator's wish to level a model is fulfilled.
 * - `raise`: the map in force gets a generation above one that shards hold from before the registry lost its history.
 * - `stage-epoch`, `commit-epoch`, `rollback-epoch`, `forget-epochs`, `fold-epochs`: deltas, see epoch-steps.ts.
 * - `retire`, `reinstate`: a replaced version is given its time of departure, or is wanted again.
 * - `remove`: a version leaves the registry, and with that the shards.
 */
export type StepKind =
  | "stage"
  | "restage"
  | "prove"
  | "enable"
  | "fail"
  | "rebalance"
  | "flip"
  | "raise"
  | "levelled"
  | "stage-epoch"
  | "commit-epoch"
  | "rollback-epoch"
  | "forget-epochs"
  | "fold-epochs"
  | "retire"
  | "reinstate"
  | "remove";

export interface Step {
  readonly kind: StepKind;
  readonly model: string;
  readonly version: number;
  /** Why, for the log. */
  readonly why: string;
  readonly compares: readonly Compare[];
  readonly operations: readonly (Put | Delete)[];
  /** Of a flip: bytes that were copied for it. */
  readonly movedBytes?: number;
}

/** Something that does not move, and what it waits for. */
export interface Waiting {
  readonly model: string;
  readonly version: number;
  readonly why: string;
}

export interface Decision {
  readonly step: Step | undefined;
  readonly waiting: readonly Waiting[];
}

/** The first step that can be taken, models and versions in order; and what all the others wait for. */
export function nextStep(observed: Observed): Decision {
  const waiting: Waiting[] = [];
  const names = new Set([...observed.state.models.keys(), ...observed.repository.keys()]);
  for (const model of [...names].sort()) {
    const step = new ModelSteps(observed, model, waiting).next();
    if (step) return { step, waiting };
  }
  return { step: undefined, waiting };
}

/** Shards that partitions may be placed on. */
export function eligibleShards(state: ClusterState, unsteady: ReadonlySet<string> = new Set()): string[] {
  return [...state.shards.values()]
    .filter((shard) => !shard.isDraining && !unsteady.has(shard.id))
    .map((shard) => shard.id)
    .sort();
}

const NO_MODEL: ModelState = { aspired: undefined, levelRevision: undefined, labels: undefined, versions: new Map() };

/** Decides for one model. */
class ModelSteps {
  readonly #observed: Observed;
  readonly #model: string;
  readonly #state: ModelState;
  readonly #contents: ReadonlyMap<number, VersionContents>;
  readonly #waiting: Waiting[];

  constructor(observed: Observed, model: string, waiting: Waiting[]) {
    this.#observed = observed;
    this.#model = model;
    this.#state = observed.state.models.get(model) ?? NO_MODEL;
    this.#contents = observed.repository.get(model) ?? new Map();
    this.#waiting = waiting;
  }

  next(): Step | undefined {
    const aspired = this.#aspired();
    for (const version of aspired ?? []) {
      if (this.#state.versions.get(version)?.record) continue;
      const step = this.#stage(version);
      if (step) return step;
    }
    for (const [version, state] of [...this.#state.versions].sort(([a], [b]) => b - a)) {
      const step = state.record && this.#advance(version, state, state.record.value, aspired);
      if (step) return step;
    }
    return this.#levelled();
  }

  /** The wish to level goes once no enabled version has anything to move. */
  #levelled(): Step | undefined {
    const revision = this.#state.levelRevision;
    if (revision === undefined || [...this.#state.versions.values()].some(({ map }) => map?.value.staged))
      return undefined;
    if (this.#observed.settledForMs < this.#observed.settings.settleMs) return undefined;
    const key = levelKey(this.#model);
    const version = Math.max(0, ...this.#state.versions.keys());
    return {
      kind: "levelled",
      model: this.#model,
      version,
      why: "every shard has its share",
      compares: [{ key, modRevision: revision }],
      operations: [{ delete: key }],
    };
  }

  /** Wanted versions, highest first; undefined when nothing is on disk: then what is served stays. */
  #aspired(): number[] | undefined {
    const policy = this.#state.aspired?.policy ?? { kind: "latest" as const, count: 1 };
    if (this.#contents.size === 0 && !(policy.kind === "specific" && policy.versions.length === 0)) return undefined;
    return aspiredVersions(policy, this.#contents.keys());
  }

  #advance(
    version: number,
    state: VersionState,
    record: VersionRecord,
    aspired: number[] | undefined,
  ): Step | undefined {
    const isWanted = aspired === undefined || aspired.includes(version);
    if (record.state === "retiring") return this.#leave(version, state, record, isWanted);
    if (record.state === "enabled") {
      return isWanted ? this.#maintain(version, state) : this.#retire(version, state, record, aspired);
    }
    return isWanted ? this.#load(version, state, record) : this.#remove(version, state, "it is no longer wanted");
  }

  // A version on its way to being enabled.

  #stage(version: number): Step | undefined {
    const contents = this.#contents.get(version);
    const known = this.#state.versions.get(version);
    const generation = heldGeneration(known) + 1;
    const map = contents && this.#place(version, contents, this.#served(contents.partitionCount), generation);
    if (!contents || !map) return undefined;
    return this.#write("stage", version, `found in the repository; ${map.shards.length} shards`, {
      record: this.#record(contents, "staged"),
      map: recalled(map, known, contents),
      compares: [
        this.#expectRecord(version, undefined),
        { key: mapKey(this.#model, version), modRevision: known?.map?.modRevision ?? 0 },
      ],
    });
  }

  #load(version: number, state: VersionState, record: VersionRecord): Step | undefined {
    const contents = this.#contents.get(version);
    if (!contents) return this.#wait(version, "the version is not in the model repository");
    const staged = state.map?.value.staged;
    if (!staged) return this.#restage(version, state, contents, undefined, "nothing is staged");
    if (record.manifestDigest !== contents.manifestDigest) {
      return this.#restage(version, state, contents, undefined, "its manifest changed");
    }
    const lost = this.#lost(staged);
    if (lost) return this.#restage(version, state, contents, staged, lost);
    const { epoch = staged.epoch } = recalledEpoch(state.holdings, contents) ?? {};
    if (epoch !== staged.epoch)
      return this.#restage(version, state, contents, staged, `shards hold epoch ${epoch} of a lost history`);
    const proof = proveMap(staged, contents, state.holdings);
    if (proof.isComplete)
      return record.state === "loaded"
        ? this.#enable(version, state, record, staged)
        : this.#prove(version, state, record);
    const [refusal] = proof.refusals;
    if (refusal && record.state !== "failed") {
      const [shard, error] = refusal;
      return this.#write("fail", version, `${shard}: ${error.message}`, {
        record: { ...this.#record(contents, "failed"), error: { ...error, shard } },
        compares: this.#expect(version, state),
      });
    }
    return this.#wait(version, describeProof(proof));
  }

  #prove(version: number, state: VersionState, record: VersionRecord): Step {
    const { error: _, ...rest } = record;
    return this.#write("prove", version, "every replica of every partition is proved", {
      record: { ...rest, state: "loaded", changedAtMs: this.#observed.nowMs },
      compares: this.#expect(version, state),
    });
  }

  #enable(version: number, state: VersionState, record: VersionRecord, staged: PartitionMap): Step {
    return this.#write("enable", version, `generation ${staged.generation}`, {
      record: { ...record, state: "enabled", changedAtMs: this.#observed.nowMs },
      map: { enabled: staged },
      compares: this.#expect(version, state),
    });
  }

  #restage(
    version: number,
    state: VersionState,
    contents: VersionContents,
    previous: PartitionMap | undefined,
    why: string,
  ): Step | undefined {
    const generation = Math.max(state.map?.value.staged?.generation ?? 0, heldGeneration(state)) + 1;
    const map = this.#place(version, contents, previous ?? this.#served(contents.partitionCount), generation);
    if (!map) return undefined;
    return this.#write("restage", version, why, {
      record: this.#record(contents, "staged"),
      map: recalled(map, state, contents),
      compares: this.#expect(version, state),
    });
  }

  // An enabled version that stays.

  #maintain(version: number, state: VersionState): Step | undefined {
    const enabled = state.map?.value.enabled;
    if (!enabled)
      return this.#wait(version, "it is enabled but has no map; remove its keys to have it rolled out again");
    const contents = this.#contents.get(version);
    const { staged } = state.map?.value ?? {};
    const epoch = contents && this.#epochs(version, state, contents);
    if (epoch) return epoch;
    const heldAt = heldGeneration(state);
    if (heldAt >= enabled.generation && contents && !staged) {
      const proof = proveMap(enabled, contents, state.holdings);
      if (!proof.isComplete)
        return this.#wait(version, `shards hold generation ${heldAt} of a lost history: ${describeProof(proof)}`);
      return this.#write("raise", version, `shards hold generation ${heldAt} of a lost history`, {
        map: { enabled: { ...enabled, generation: heldAt + 1 } },
        compares: this.#expect(version, state),
      });
    }
    if (!contents) {
      // Without the manifest nothing new can be proved; what is served goes on.
      const lost = this.#lost(enabled);
      return lost || staged
        ? this.#wait(version, `${lost ?? "a move is staged"}; but the version is not in the model repository`)
        : undefined;
    }
    if (staged) {
      // What is only a part of the way may still name a shard that is leaving; the end of the way may not.
      const lost = this.#lost(state.map?.value.target ?? staged);
      if (lost) return this.#rebalance(version, state, contents, enabled, lost);
      const proof = proveMap(staged, contents, state.holdings, enabled);
      if (!proof.isComplete) return this.#wait(version, `a move is staged: ${describeProof(proof)}`);
      const movedBytes = movedCount(enabled, staged) * contents.partitionBytes;
      const flip = this.#flip(version, state, staged);
      return flip && { ...flip, movedBytes };
    }
    const { target } = state.map?.value ?? {};
    if (target) {
      const outdated = this.#lost(target) ?? this.#gained(target);
      if (outdated) return this.#rebalance(version, state, contents, enabled, outdated, true);
      return this.#move("rebalance", version, state, enabled, target, enabled.generation + 1, "moves go on");
    }
    const lost = this.#lost(enabled);
    if (lost) return this.#rebalance(version, state, contents, enabled, lost);
    const shards = this.#shards(version);
    if (isAtRest(enabled, shards, this.#replication(), this.#state.levelRevision)) return undefined;
    const gained = this.#gained(enabled);
    if (gained) return this.#rebalance(version, state, contents, enabled, gained);
    const uneven = this.#uneven(enabled, contents, shards);
    return uneven === undefined ? undefined : this.#rebalance(version, state, contents, enabled, uneven, true);
  }

  /** @param isLevelled  evens out all shards, not only those that joined */
  #rebalance(
    version: number,
    state: VersionState,
    contents: VersionContents,
    enabled: PartitionMap,
    why: string,
    isLevelled = false,
  ): Step | undefined {
    const elsewhere = inFlightCount(this.#observed.state, state.map?.value);
    if (elsewhere >= this.#observed.settings.movesInFlightMax) {
      // Placing is dear, and would be repeated each round until there is room.
      return this.#wait(version, `${why}; but ${elsewhere} partitions of others move already (moves-in-flight)`);
    }
    const staged = state.map?.value.staged?.generation ?? 0;
    const generation = Math.max(enabled.generation, staged, heldGeneration(state)) + 1;
    const target = this.#place(version, contents, enabled, generation, isLevelled);
    if (!target) return undefined;
    if (!isSamePlacement(target, enabled))
      return this.#move("rebalance", version, state, enabled, target, generation, why);
    if (state.map?.value.staged ?? state.map?.value.target) {
      return this.#write("rebalance", version, why, { map: { enabled }, compares: this.#expect(version, state) });
    }
    rest(enabled, this.#shards(version), this.#replication(), this.#state.levelRevision); // nothing of this version moves
    return undefined;
  }

  /** Stages as many of the moves from `from` to `target` as may be in flight now. */
  #move(
    kind: "rebalance" | "flip",
    version: number,
    state: VersionState,
    from: PartitionMap,
    target: PartitionMap,
    generation: number,
    why: string,
  ): Step | undefined {
    const { movesInFlightMax } = this.#observed.settings;
    const elsewhere = inFlightCount(this.#observed.state, state.map?.value);
    const compares = this.#expect(version, state);
    if (elsewhere >= movesInFlightMax) {
      if (kind === "flip") return this.#write(kind, version, why, { map: { enabled: from, target }, compares });
      return this.#wait(version, `${why}; but ${elsewhere} partitions of others move already (moves-in-flight)`);
    }
    const { map, leftCount } = towards(from, target, movesInFlightMax - elsewhere, generation);
    const left = leftCount > 0 ? `; ${leftCount} partitions move after these` : "";
    return this.#write(kind, version, why + left, {
      map: { enabled: from, staged: map, ...(leftCount > 0 && { target }) },
      compares,
    });
  }

  #flip(version: number, state: VersionState, staged: PartitionMap): Step | undefined {
    const why = `generation ${staged.generation}`;
    const { target } = state.map?.value ?? {};
    if (!target || this.#lost(target) !== undefined || this.#gained(target) !== undefined) {
      return this.#write("flip", version, why, { map: { enabled: staged }, compares: this.#expect(version, state) });
    }
    return this.#move("flip", version, state, staged, target, staged.generation + 1, why);
  }

  /** Deltas. They come before all else: after a lost history the epoch in force is found again before its map is raised. */
  #epochs(version: number, state: VersionState, contents: VersionContents): Step | undefined {
    const { shards, executors } = this.#observed.state;
    const { enabled, staged } = state.map?.value ?? {};
    const generation = Math.max(enabled?.generation ?? 0, staged?.generation ?? 0) + 1;
    const around = { model: this.#model, version, shards, executors: executors.values(), generation };
    const decision = epochStep(state, contents, around);
    if (!decision) return undefined;
    if (decision.kind === "wait") return this.#wait(version, decision.why);
    const { kind, why, map } = decision;
    return this.#write(kind, version, why, { map, compares: this.#expect(version, state) });
  }

  // A version that goes.

  #retire(
    version: number,
    state: VersionState,
    record: VersionRecord,
    aspired: number[] | undefined,
  ): Step | undefined {
    const successor = aspired?.find((other) => this.#state.versions.get(other)?.record?.value.state === "enabled");
    if (aspired?.length !== 0 && successor === undefined) {
      return this.#wait(version, "it is replaced once its successor is enabled");
    }
    const behind =
      successor === undefined ? [] : executorsBehind(this.#observed.state.executors.values(), this.#model, successor);
    if (behind.length > 0) {
      return this.#wait(version, `it is replaced once ${behind.join(", ")} can answer from version ${successor}`);
    }
    return this.#write(
      "retire",
      version,
      successor === undefined ? "no version is wanted" : `version ${successor} is in use`,
      {
        record: {
          ...record,
          state: "retiring",
          changedAtMs: this.#observed.nowMs,
        },
        compares: this.#expect(version, state),
      },
    );
  }

  #leave(version: number, state: VersionState, record: VersionRecord, isWanted: boolean): Step | undefined {
    if (isWanted) {
      return this.#write("reinstate", version, "it is wanted again", {
        record: { ...record, state: "enabled", changedAtMs: this.#observed.nowMs },
        compares: this.#expect(version, state),
      });
    }
    const { retiringForMs, settings } = this.#observed;
    const waitedMs = retiringForMs.get(state.record?.modRevision ?? 0) ?? 0;
    if (waitedMs < settings.retireAfterMs) return undefined;
    return this.#remove(version, state, "its time is over");
  }

  #remove(version: number, state: VersionState, why: string): Step {
    return {
      kind: "remove",
      model: this.#model,
      version,
      why,
      compares: this.#expect(version, state),
      operations: [{ delete: versionKey(this.#model, version) }, { delete: mapKey(this.#model, version) }],
    };
  }

  // Placement.

  /** Why a map can no longer be what it is: a shard of it left, or is leaving. */
  #lost(map: PartitionMap): string | undefined {
    const { state, absentForMs, settings } = this.#observed;
    for (const id of map.shards) {
      const shard = state.shards.get(id);
      if (shard?.isDraining) return `${id} is draining`;
      const absentMs = absentForMs.get(id) ?? 0;
      if (!shard && absentMs >= settings.replaceAfterMs) return `${id} is gone for ${Math.round(absentMs / 1000)} s`;
      if (shard && absentMs >= settings.replaceAfterMs)
        return `${id} comes and goes for ${Math.round(absentMs / 1000)} s`;
    }
    return undefined;
  }

  /** Why a map could be better: a shard joined, or another replication is wanted. */
  #gained(map: PartitionMap): string | undefined {
    const { state } = this.#observed;
    if (map.shards.some((id) => !state.shards.has(id))) return undefined; // it may come back before anything is moved
    const wanted = this.#replication();
    if (map.replication !== wanted) return `${wanted} replicas are wanted, there are ${map.replication}`;
    const joined = eligibleShards(state, this.#observed.unsteady).filter((id) => !map.shards.includes(id));
    return joined.length > 0 ? `${joined.join(", ")} joined` : undefined;
  }

  /** Why a map gives some shards too much or too little: weights or capacities changed, or the operator wants it level. */
  #uneven(map: PartitionMap, contents: VersionContents, shards: readonly PlacementShard[]): string | undefined {
    const ids = new Set(shards.map((shard) => shard.id));
    if (map.shards.some((id) => !ids.has(id))) return undefined; // it may come back before anything is moved
    if (this.#state.levelRevision !== undefined) return "levelling was asked for";
    const load = new Map([...loadOf(map)].map((count, i) => [map.shards[i] as string, count]));
    try {
      const { share, bound } = quotas(this.#model, shards, {
        ...contents,
        replication: map.replication,
        loadFactor: 1.1,
      });
      for (const [i, { id }] of shards.entries()) {
        const held = load.get(id) ?? 0;
        if (held > (bound[i] as number)) return `${id} holds ${held} replicas, its bound is ${bound[i]}`;
        const least = Math.floor((share[i] as number) / 1.1);
        if (held < least) return `${id} holds ${held} replicas, its share is ${Math.round(share[i] as number)}`;
      }
    } catch (error) {
      if (!isServingError(error, "PLACEMENT_INFEASIBLE")) throw error; // what is served stays as it is
    }
    return undefined;
  }

  #replication(): number {
    return this.#state.aspired?.replication ?? this.#observed.settings.replication;
  }

  /** The eligible shards with what each has left for a version. */
  #shards(version: number): PlacementShard[] {
    const { state, unsteady } = this.#observed;
    const used = bytesInUse(state, this.#model, version);
    return eligibleShards(state, unsteady).map((id): PlacementShard => {
      const { weight, zone, capacityBytes } = state.shards.get(id) as PlacementShard;
      if (capacityBytes === undefined) return { id, weight, zone };
      return { id, weight, zone, capacityBytes: Math.max(0, capacityBytes - (used.get(id) ?? 0)) };
    });
  }

  /** A map of what the eligible shards should hold, or undefined with the reason among what waits. */
  #place(
    version: number,
    contents: VersionContents,
    previous: PartitionMap | undefined,
    generation: number,
    isLevelled = false,
  ): PartitionMap | undefined {
    const { state, settings, settledForMs } = this.#observed;
    const shards = this.#shards(version);
    if (shards.length < settings.minShards && !isFormed(state)) {
      return this.#wait(version, `${shards.length} shards are there, ${settings.minShards} are needed (minShards)`);
    }
    if (settledForMs < settings.settleMs) return this.#wait(version, "the set of shards changed just now");
    try {
      return place(shards, contents.partitionCount, this.#replication(), {
        model: this.#model,
        version,
        generation,
        partitionBytes: contents.partitionBytes,
        isLevelled,
        ...(previous && { previous }),
      });
    } catch (error) {
      if (isServingError(error, "PLACEMENT_INFEASIBLE")) return this.#wait(version, error.message);
      throw error;
    }
  }

  /** The map of an enabled version of this model with as many partitions: its files may be the same, so stay near it. */
  #served(partitionCount: number): PartitionMap | undefined {
    const enabled = [...this.#state.versions].sort(([a], [b]) => b - a).map(([, state]) => state.map?.value.enabled);
    return enabled.find((map) => map?.partitionCount === partitionCount);
  }

  // Writing.

  #record(contents: VersionContents, state: VersionRecord["state"]): VersionRecord {
    return {
      state,
      manifestDigest: contents.manifestDigest,
      partitionCount: contents.partitionCount,
      bytes: contents.partitionBytes * contents.partitionCount,
      changedAtMs: this.#observed.nowMs,
    };
  }

  #expectRecord(version: number, state: VersionState | undefined): Compare {
    return { key: versionKey(this.#model, version), modRevision: state?.record?.modRevision ?? 0 };
  }

  #expect(version: number, state: VersionState): Compare[] {
    return [
      this.#expectRecord(version, state),
      { key: mapKey(this.#model, version), modRevision: state.map?.modRevision ?? 0 },
    ];
  }

  #write(
    kind: StepKind,
    version: number,
    why: string,
    change: { readonly record?: VersionRecord; readonly map?: MapRecord; readonly compares: readonly Compare[] },
  ): Step {
    const operations: Put[] = [];
    if (change.record)
      operations.push({ put: versionKey(this.#model, version), value: versionRecord.encode(change.record) });
    if (change.map) {
      const map = withEpoch(change.map, this.#state.versions.get(version)?.map?.value);
      operations.push({ put: mapKey(this.#model, version), value: mapRecord.encode(map) });
    }
    return { kind, model: this.#model, version, why, compares: change.compares, operations };
  }

  #wait(version: number, why: string): undefined {
    this.#waiting.push({ model: this.#model, version, why });
  }
}

/** The highest generation that a shard goes on with although the registry has forgotten it; 0 = none. */
function heldGeneration(state: VersionState | undefined): number {
  let highest = 0;
  for (const { heldGeneration: held } of state?.holdings.values() ?? []) highest = Math.max(highest, held ?? 0);
  return highest;
}

/**
 * Maps that were found to need no move, with what that rested on: placing is the dearest part of a decision, and most
 * decisions find everything at rest. A cache of a pure function; maps keep their identity until they are written again.
 */
const atRest = new WeakMap<PartitionMap, string>();

function basis(shards: readonly PlacementShard[], replication: number, levelRevision: number | undefined): string {
  return JSON.stringify([shards, replication, levelRevision]);
}

function isAtRest(map: PartitionMap, ...on: Parameters<typeof basis>): boolean {
  return atRest.get(map) === basis(...on);
}

function rest(map: PartitionMap, ...on: Parameters<typeof basis>): void {
  atRest.set(map, basis(...on));
}

/** A version that is staged: at the epoch that shards go on with, if the registry has forgotten it. */
function recalled(map: PartitionMap, state: VersionState | undefined, contents: VersionContents): MapRecord {
  const found = recalledEpoch(state?.holdings ?? new Map(), contents);
  return found ? { staged: { ...map, epoch: found.epoch }, epochs: found.epochs } : { staged: map };
}

/** Whatever moves, the epoch in force and its deltas stay; only a step of theirs, which says `epochs`, changes them. */
function withEpoch(map: MapRecord, before: MapRecord | undefined): MapRecord {
  if (map.epochs || !before?.epochs) return map;
  const epoch = (before.enabled ?? before.staged)?.epoch ?? 0;
  return {
    epochs: before.epochs,
    ...(map.enabled && { enabled: { ...map.enabled, epoch } }),
    ...(map.staged && { staged: { ...map.staged, epoch } }),
    ...(map.target && { target: { ...map.target, epoch } }),
  };
}

function describeProof({ provedCount, neededCount, missing, estranged, refusals }: Proof): string {
  const parts = [
    `${provedCount} of ${neededCount} replicas are proved; missing: ${[...missing].map(([id, count]) => `${id} (${count})`).join(", ")}`,
    ...estranged.map((id) => `${id} read another manifest: not yet this one, or another model repository`),
    ...[...refusals].map(([id, error]) => `${id}: ${error.message}`),
  ];
  return parts.join("; ");
}

/** True once anything is served: then the loss of a shard must not keep the rest from being repaired. */
function isFormed(state: ClusterState): boolean {
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) if (map?.value.enabled) return true;
  }
  return false;
}

/** Executors that answer for the model but not yet from `version`, sorted. */
function executorsBehind(executors: Iterable<ExecutorRecord>, model: string, version: number): string[] {
  const behind: string[] = [];
  for (const { id, serving } of executors) {
    const ours = serving.filter((served) => served.model === model && served.state !== "unloading");
    const isThere = ours.some((served) => served.version === version && served.state === "available");
    if (ours.length > 0 && !isThere) behind.push(id);
  }
  return behind.sort();
}

/** Partitions that every shard holds under the maps of one version; by record, which keeps its identity until it is written. */
const loads = new WeakMap<MapRecord, ReadonlyMap<string, number>>();

function loadsOf(record: MapRecord): ReadonlyMap<string, number> {
  const known = loads.get(record);
  if (known) return known;
  const counted = unionLoads([record.enabled, record.staged].flatMap((map) => map ?? []));
  loads.set(record, counted);
  return counted;
}

/** Bytes that every shard holds or will hold under the maps of everything but one version. */
function bytesInUse(state: ClusterState, exceptModel: string, exceptVersion: number): Map<string, number> {
  const used = new Map<string, number>();
  for (const [model, { versions }] of state.models) {
    for (const [version, { record, map }] of versions) {
      if (!record || !map || (model === exceptModel && version === exceptVersion)) continue;
      const partitionBytes = Math.ceil(record.value.bytes / record.value.partitionCount);
      for (const [id, count] of loadsOf(map.value)) used.set(id, (used.get(id) ?? 0) + count * partitionBytes);
    }
  }
  return used;
}
