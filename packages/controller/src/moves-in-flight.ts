import { moves } from "@shardserve/placement";
import type { MapRecord } from "@shardserve/registry";
import type { ClusterState } from "./cluster-state.js";

/** What the maps of one version say of its moves. */
export interface MoveCounts {
  /** Partitions that are being copied: staged elsewhere than they are served. */
  readonly inFlightCount: number;
  /** Partitions that move after those. */
  readonly leftCount: number;
}

const NONE: MoveCounts = { inFlightCount: 0, leftCount: 0 };

/** By record, which keeps its identity until the key is written again. */
const counted = new WeakMap<MapRecord, MoveCounts>();

/** Moves of an enabled version; a version that is being rolled out moves nothing. */
export function moveCounts(record: MapRecord): MoveCounts {
  const { enabled, staged, target } = record;
  if (!enabled || (!staged && !target)) return NONE;
  const known = counted.get(record);
  if (known) return known;
  const from = staged ?? enabled;
  const counts = {
    inFlightCount: staged ? moves(enabled, staged).length : 0,
    leftCount: target ? moves(from, target).length : 0,
  };
  counted.set(record, counts);
  return counts;
}

/** Partitions in flight over all models, one version's maps left out. */
export function inFlightCount(state: ClusterState, except?: MapRecord): number {
  let count = 0;
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) {
      if (map && map.value !== except) count += moveCounts(map.value).inFlightCount;
    }
  }
  return count;
}
