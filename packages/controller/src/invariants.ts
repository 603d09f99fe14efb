/**
 * What must hold of a cluster at any time, whoever looks: the unit tests' scripts, the simulator and the chaos suite ask the
 * same questions. Each returns what is broken, in words; empty = all is well.
 */
import { LOAD_FACTOR, loadOf, type PartitionMap, replicasOf } from "@shardserve/placement";
import type { ClusterState } from "./observe/cluster-state.js";

/** Whether a living shard really has a partition. */
export type Holds = (shard: string, model: string, version: number, partition: number) => boolean;

/** The generation of a version's enabled map never goes back, and a model that is served stays served. */
export function brokenHistory(before: ClusterState, now: ClusterState): string[] {
  const broken: string[] = [];
  for (const [model, { versions }] of before.models) {
    const later = now.models.get(model);
    let wasServed = false;
    for (const [version, { map }] of versions) {
      const enabled = map?.value.enabled;
      if (!enabled) continue;
      wasServed = true;
      const successor = later?.versions.get(version)?.map?.value.enabled;
      if (successor && successor.generation < enabled.generation) {
        broken.push(`${model} ${version}: generation ${enabled.generation} was followed by ${successor.generation}`);
      }
    }
    const isServed = [...(later?.versions.values() ?? [])].some(({ map }) => map?.value.enabled);
    if (wasServed && !isServed) broken.push(`${model}: no version is served any more`);
  }
  return broken;
}

/** What a map brings into force is held by the shard that it names. */
export function unprovedReplicas(before: PartitionMap | undefined, now: PartitionMap, holds: Holds): string[] {
  const broken: string[] = [];
  for (let p = 0; p < now.partitionCount; p++) {
    const known = before ? replicasOf(before, p) : [];
    for (const id of replicasOf(now, p)) {
      if (known.includes(id) || holds(id, now.model, now.version, p)) continue;
      broken.push(`${now.model} ${now.version} generation ${now.generation}: ${id} does not hold partition ${p}`);
    }
  }
  return broken;
}

/** Partitions of a map in use that no living shard of it can answer for. */
export function darkPartitions(map: PartitionMap, holds: Holds): string[] {
  const broken: string[] = [];
  for (let p = 0; p < map.partitionCount; p++) {
    if (replicasOf(map, p).some((id) => holds(id, map.model, map.version, p))) continue;
    broken.push(`${map.model} ${map.version} generation ${map.generation}: nobody answers for partition ${p}`);
  }
  return broken;
}

/** The fullest shard of a map over its share of the weights; 1 = even. Shares below ten partitions are rounded up first. */
export function imbalanceOf(map: PartitionMap, weights: ReadonlyMap<string, number>): number {
  const total = [...weights.values()].reduce((sum, weight) => sum + weight, 0);
  const load = loadOf(map);
  let worst = 0;
  for (const [i, id] of map.shards.entries()) {
    const share = (map.replicas.length * (weights.get(id) ?? 0)) / total;
    worst = Math.max(worst, load[i]! / Math.max(share, Math.ceil(share) / LOAD_FACTOR));
  }
  return worst;
}
