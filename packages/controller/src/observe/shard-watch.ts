import { mapsToHold } from "@shardserve/registry";
import type { ClusterState } from "./cluster-state.js";
import { eligibleShards } from "./eligible-shards.js";

/** Disappearances count with this half-life, in milliseconds. */
const HALF_LIFE_MS = 60_000;
/** Above it a shard is unsteady, below the other it is steady again: three losses within a minute, then about 1.5 minutes of peace. */
const UNSTEADY_ABOVE = 2.5;
const STEADY_BELOW = 1;
const FORGOTTEN_BELOW = 0.1;

/** Which shards are away or unsteady, and for how long the rest has been the same. */
export interface Presence {
  /** Per shard that a map names and that is away or unsteady: for how long, in milliseconds. */
  readonly absentForMs: ReadonlyMap<string, number>;
  readonly unsteady: ReadonlySet<string>;
  /** For how long the set of shards that can be placed on has been the same, in milliseconds. */
  readonly settledForMs: number;
}

interface Flaps {
  penalty: number;
  atMs: number;
  isUnsteady: boolean;
}

/**
 * What a leader remembers of the shards' comings and goings: timers only, so the next leader begins them anew.
 *
 * Flapping is damped as routers damp routes (RFC 2439): each disappearance adds to a penalty that decays. A shard above the
 * limit counts as away since it left last, although its lease may live at the moment, and does not unsettle the rest: without
 * that, one shard whose lease comes and goes would never be replaced and would keep everything else from being placed.
 */
export class ShardWatch {
  readonly #absentSinceMs = new Map<string, number>();
  readonly #flaps = new Map<string, Flaps>();
  #present = new Set<string>();
  #eligible = "";
  #settledSinceMs: number;

  constructor(nowMs: number) {
    this.#settledSinceMs = nowMs;
  }

  observe(state: ClusterState, nowMs: number): Presence {
    for (const id of this.#present) if (!state.shards.has(id)) this.#count(id, nowMs);
    this.#present = new Set(state.shards.keys());
    const unsteady = this.#unsteady(nowMs);
    const eligible = eligibleShards(state, unsteady)
      .map(({ id }) => id)
      .join("\n");
    if (eligible !== this.#eligible) this.#settledSinceMs = nowMs;
    this.#eligible = eligible;

    const away = awayShards(state, unsteady);
    for (const id of this.#absentSinceMs.keys()) if (!away.has(id)) this.#absentSinceMs.delete(id);
    for (const id of away) if (!this.#absentSinceMs.has(id)) this.#absentSinceMs.set(id, nowMs);
    return {
      absentForMs: new Map([...this.#absentSinceMs].map(([id, sinceMs]) => [id, nowMs - sinceMs])),
      unsteady,
      settledForMs: nowMs - this.#settledSinceMs,
    };
  }

  #count(id: string, nowMs: number): void {
    const before = this.#flaps.get(id);
    const penalty = (before ? decayed(before, nowMs) : 0) + 1;
    this.#flaps.set(id, {
      penalty,
      atMs: nowMs,
      isUnsteady: (before?.isUnsteady ?? false) || penalty > UNSTEADY_ABOVE,
    });
  }

  #unsteady(nowMs: number): Set<string> {
    const unsteady = new Set<string>();
    for (const [id, flaps] of this.#flaps) {
      const penalty = decayed(flaps, nowMs);
      if (penalty < FORGOTTEN_BELOW) this.#flaps.delete(id);
      else if (penalty < STEADY_BELOW) flaps.isUnsteady = false;
      if (flaps.isUnsteady) unsteady.add(id);
    }
    return unsteady;
  }
}

function decayed({ penalty, atMs }: Flaps, nowMs: number): number {
  return penalty * 0.5 ** ((nowMs - atMs) / HALF_LIFE_MS);
}

/** Shards that a map names and that have no living lease, or none to rely on. */
function awayShards(state: ClusterState, unsteady: ReadonlySet<string>): Set<string> {
  const away = new Set<string>();
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) {
      for (const { shards } of mapsToHold(map?.value)) {
        for (const id of shards) if (!state.shards.has(id) || unsteady.has(id)) away.add(id);
      }
    }
  }
  return away;
}
