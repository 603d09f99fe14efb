/** What the leader decides from, and what comes out of it: steps, and what has to be waited for. */
import type { Compare, Delete, Put } from "@shardserve/registry";
import type { ClusterState } from "../observe/cluster-state.js";
import type { RepositoryContents } from "../observe/repository.js";
import type { ControllerSettings } from "../settings.js";

/** Everything that a decision rests on. */
export interface Observed {
  readonly state: ClusterState;
  readonly repository: RepositoryContents;
  /** For how long shards that maps name have been gone, or came and went, in milliseconds, by id, as far as this leader saw. */
  readonly absentForMs: ReadonlyMap<string, number>;
  /** Shards whose registration came and went too often of late: they get nothing new (ShardWatch). */
  readonly unsteady: ReadonlySet<string>;
  /** Shards that get no more of a version, because they do not take what moves to them (RefusalWatch); by refusalKey. */
  readonly avoided: ReadonlySet<string>;
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

/** One thing that the leader does next; doing it twice does no harm. */
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

/** The next step, and what every model that has none waits for. */
export interface Decision {
  readonly step: Step | undefined;
  readonly waiting: readonly Waiting[];
}
