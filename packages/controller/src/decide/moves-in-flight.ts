import { byIdentity } from "@shardserve/core";
import { movedPartitionCount } from "@shardserve/placement";
import type { MapRecord } from "@shardserve/registry";
import type { ClusterState } from "../observe/cluster-state.js";

/** What the maps of one version say of its moves. */
export interface MoveCounts {
  /** Partitions that are being copied: staged elsewhere than they are served. */
  readonly inFlightCount: number;
  /** Partitions that move after those. */
  readonly leftCount: number;
}

const NONE: MoveCounts = { inFlightCount: 0, leftCount: 0 };

/** Moves of an enabled version; a version that is being rolled out moves nothing. */
export const moveCounts = byIdentity(({ enabled, staged, target }: MapRecord): MoveCounts => {
  if (!enabled || (!staged && !target)) return NONE;
  return {
    inFlightCount: staged ? movedPartitionCount(enabled, staged) : 0,
    leftCount: target ? movedPartitionCount(staged ?? enabled, target) : 0,
  };
});

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
