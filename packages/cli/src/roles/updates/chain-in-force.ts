import type { EpochRecord, MapFollower } from "@shardserve/registry";
import type { EpochRef } from "@shardserve/rowstore";

/** The deltas in force of a version, first to last; undefined when it is not in force. */
export function chainInForce(
  follower: MapFollower,
  model: string,
  version: number,
): readonly EpochRecord[] | undefined {
  const map = follower.map(model, version);
  if (!map) return undefined;
  if (map.epoch === 0) return [];
  const chain = follower.epochs(model, version)?.chain ?? [];
  const at = chain.findIndex(({ epoch }) => epoch === map.epoch);
  return at < 0 ? undefined : chain.slice(0, at + 1);
}

export function isSameEpoch(a: EpochRef, b: EpochRef): boolean {
  return a.epoch === b.epoch && a.digest === b.digest;
}
