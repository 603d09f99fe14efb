import { byIdentity } from "@shardserve/core";
import { unionLoads } from "@shardserve/placement";
import { type MapRecord, mapsToHold } from "@shardserve/registry";
import { type ClusterState, partitionBytesOf } from "../observe/cluster-state.js";

/** Bytes that every shard holds or will hold under the maps of everything but one version. */
export function bytesInUse(state: ClusterState, exceptModel: string, exceptVersion: number): Map<string, number> {
  const used = new Map<string, number>();
  for (const [model, { versions }] of state.models) {
    for (const [version, { record, map }] of versions) {
      if (!record || !map || (model === exceptModel && version === exceptVersion)) continue;
      const partitionBytes = partitionBytesOf(record.value);
      for (const [id, count] of loadsOf(map.value)) used.set(id, (used.get(id) ?? 0) + count * partitionBytes);
    }
  }
  return used;
}

/** Partitions that every shard holds under the maps of one version. */
const loadsOf = byIdentity((record: MapRecord) => unionLoads(mapsToHold(record)));
