/**
 * What the leader does next: a pure function of what it sees, at most one step out. Each step is one transaction on the
 * revisions it was decided from, so a step that was decided on old news is refused, and any leader can go on where
 * another stopped. docs/architecture.md, "Cluster"; the states are VersionRecord's.
 */
import { isServingError } from "@shardserve/core";
import { isSamePlacement, type PartitionMap, type PlacementShard, partitionsOf, place } from "@shardserve/placement";
import {
  type Compare,
  type Delete,
  type ExecutorRecord,
  type MapRecord,
  mapKey,
  mapRecord,
  type Put,
  type VersionRecord,
  versionKey,
  versionRecord,
} from "@shardserve/registry";
import type { ClusterState, ModelState, VersionState } from "./cluster-state.js";
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
 * - `flip`: that placement is proved and becomes the one in force.
 * - `raise`: the map in force gets a generation above one that shards hold from before the registry lost its history.
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

const NO_MODEL: ModelState = { aspired: undefined, versions: new Map() };

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
    return undefined;
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
    const orphan = this.#state.versions.get(version)?.map;
    const generation = heldGeneration(this.#state.versions.get(version)) + 1;
    const map = contents && this.#place(version, contents, this.#served(contents.partitionCount), generation);
    if (!contents || !map) return undefined;
    return this.#write("stage", version, `found in the repository; ${map.shards.length} shards`, {
      record: this.#record(contents, "staged"),
      map: { staged: map },
      compares: [
        this.#expectRecord(version, undefined),
        { key: mapKey(this.#model, version), modRevision: orphan?.modRevision ?? 0 },
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
      map: { staged: map },
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
      const lost = this.#lost(staged);
      if (lost) return this.#rebalance(version, state, contents, enabled, lost);
      const proof = proveMap(staged, contents, state.holdings);
      if (proof.isComplete) {
        return this.#write("flip", version, `generation ${staged.generation}`, {
          map: { enabled: staged },
          compares: this.#expect(version, state),
        });
      }
      return this.#wait(version, `a move is staged: ${describeProof(proof)}`);
    }
    const why = this.#lost(enabled) ?? this.#gained(enabled);
    return why === undefined ? undefined : this.#rebalance(version, state, contents, enabled, why);
  }

  #rebalance(
    version: number,
    state: VersionState,
    contents: VersionContents,
    enabled: PartitionMap,
    why: string,
  ): Step | undefined {
    const staged = state.map?.value.staged?.generation ?? 0;
    const generation = Math.max(enabled.generation, staged, heldGeneration(state)) + 1;
    const map = this.#place(version, contents, enabled, generation);
    if (!map) return undefined;
    const isUndone = isSamePlacement(map, enabled);
    if (isUndone && !state.map?.value.staged) return undefined; // the newcomer gets nothing of this version
    return this.#write("rebalance", version, why, {
      map: isUndone ? { enabled } : { enabled, staged: map },
      compares: this.#expect(version, state),
    });
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
          retireAtMs: this.#observed.nowMs + this.#observed.settings.retireAfterMs,
        },
        compares: this.#expect(version, state),
      },
    );
  }

  #leave(version: number, state: VersionState, record: VersionRecord, isWanted: boolean): Step | undefined {
    if (isWanted) {
      const { retireAtMs: _, ...rest } = record;
      return this.#write("reinstate", version, "it is wanted again", {
        record: { ...rest, state: "enabled", changedAtMs: this.#observed.nowMs },
        compares: this.#expect(version, state),
      });
    }
    if (this.#observed.nowMs < (record.retireAtMs ?? 0)) return undefined;
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
    const { state, settings } = this.#observed;
    if (map.shards.some((id) => !state.shards.has(id))) return undefined; // it may come back before anything is moved
    const wanted = this.#state.aspired?.replication ?? settings.replication;
    if (map.replication !== wanted) return `${wanted} replicas are wanted, there are ${map.replication}`;
    const joined = eligibleShards(state, this.#observed.unsteady).filter((id) => !map.shards.includes(id));
    return joined.length > 0 ? `${joined.join(", ")} joined` : undefined;
  }

  /** A map of what the eligible shards should hold, or undefined with the reason among what waits. */
  #place(
    version: number,
    contents: VersionContents,
    previous: PartitionMap | undefined,
    generation: number,
  ): PartitionMap | undefined {
    const { state, settings, settledForMs } = this.#observed;
    const ids = eligibleShards(state, this.#observed.unsteady);
    if (ids.length < settings.minShards && !isFormed(state)) {
      return this.#wait(version, `${ids.length} shards are there, ${settings.minShards} are needed (minShards)`);
    }
    if (settledForMs < settings.settleMs) return this.#wait(version, "the set of shards changed just now");
    const used = bytesInUse(state, this.#model, version);
    const shards = ids.map((id): PlacementShard => {
      const { weight, zone, capacityBytes } = state.shards.get(id) as PlacementShard;
      if (capacityBytes === undefined) return { id, weight, zone };
      return { id, weight, zone, capacityBytes: Math.max(0, capacityBytes - (used.get(id) ?? 0)) };
    });
    try {
      return place(shards, contents.partitionCount, this.#state.aspired?.replication ?? settings.replication, {
        model: this.#model,
        version,
        generation,
        partitionBytes: contents.partitionBytes,
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
    if (change.map) operations.push({ put: mapKey(this.#model, version), value: mapRecord.encode(change.map) });
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

/** Bytes that every shard holds or will hold under the maps of everything but one version. */
function bytesInUse(state: ClusterState, exceptModel: string, exceptVersion: number): Map<string, number> {
  const used = new Map<string, number>();
  for (const [model, { versions }] of state.models) {
    for (const [version, { record, map }] of versions) {
      if (!record || !map || (model === exceptModel && version === exceptVersion)) continue;
      const partitionBytes = Math.ceil(record.value.bytes / record.value.partitionCount);
      const maps = [map.value.enabled, map.value.staged].flatMap((found) => found ?? []);
      for (const id of new Set(maps.flatMap((found) => found.shards))) {
        const held = new Set(maps.flatMap((found) => partitionsOf(found, id)));
        used.set(id, (used.get(id) ?? 0) + held.size * partitionBytes);
      }
    }
  }
  return used;
}
