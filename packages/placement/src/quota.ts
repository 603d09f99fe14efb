import { ServingError } from "@shardserve/core";

/** What a shard offers to placement. */
export interface PlacementShard {
  readonly id: string;
  /** Share of the load relative to the others, > 0. */
  readonly weight: number;
  /** Failure domain; replicas avoid to share one. */
  readonly zone: string;
  /** Bytes that this version may still take here; absent = not limited. */
  readonly capacityBytes?: number;
  /** It may keep what it has, and gets nothing else, in exchange neither. Default false. */
  readonly isClosed?: boolean;
}

/** No shard holds more than this times its weighted share. */
export const LOAD_FACTOR = 1.1;

/** How many replicas each shard should hold and may hold at most. */
export interface Quotas {
  /** The shard's fair share, real; sums to partitionCount x replication. */
  readonly share: Float64Array;
  /** The share as a whole number, down or up, largest remainders up; sums to partitionCount x replication. */
  readonly target: Int32Array;
  /** No shard ever exceeds it: LOAD_FACTOR x its share, rounded, never less than the share itself rounded up. */
  readonly bound: Int32Array;
}

/** What is to be placed: so many partitions, so many copies of each. */
export interface Demand {
  readonly partitionCount: number;
  readonly replication: number;
  /** Bytes of the largest partition; 0 = capacities are ignored. */
  readonly partitionBytes: number;
}

/**
 * Splits partitionCount x replication replicas in proportion to weights. No shard's share exceeds one replica of every
 * partition or its capacity; what it cannot take is shared by the others.
 *
 * @param what  what is placed, for messages ("ctr version 3")
 * @throws ServingError PLACEMENT_INFEASIBLE with the numbers
 */
export function quotas(what: string, shards: readonly PlacementShard[], demand: Demand): Quotas {
  const { partitionCount, replication, partitionBytes } = demand;
  const names = shards.map((shard) => shard.id).join(", ") || "none";
  if (shards.length < replication) {
    throw infeasible(
      `${what}: ${replication} replicas need ${replication} shards, there are ${shards.length} (${names}); ` +
        "start more shards or lower the replication",
      { replication, shardCount: shards.length },
    );
  }
  const limit = Float64Array.from(shards, ({ capacityBytes }) =>
    capacityBytes === undefined || partitionBytes === 0
      ? partitionCount
      : Math.min(partitionCount, Math.max(0, Math.floor(capacityBytes / partitionBytes))),
  );
  const total = partitionCount * replication;
  const slots = limit.reduce((sum, slot) => sum + slot, 0);
  if (slots < total) {
    const held = shards.map((shard, i) => `${shard.id}: ${shard.capacityBytes ?? "unlimited"} bytes = ${limit[i]}`);
    throw infeasible(
      `${what}: ${partitionCount} partitions x ${replication} replicas of up to ${partitionBytes} bytes are ${total} ` +
        `(${total * partitionBytes} bytes), the shards have room for ${slots} (${held.join("; ")}); ` +
        "add shards or capacity, or lower the replication",
      { neededBytes: total * partitionBytes, roomBytes: slots * partitionBytes },
    );
  }
  const share = fillShares(shards, limit, total);
  const bound = Int32Array.from(share, (part, i) => {
    const rounded = Math.max(Math.ceil(part - 1e-9), Math.floor(part * LOAD_FACTOR + 1e-9));
    return Math.min(rounded, limit[i]!);
  });
  return { share, target: roundShares(share, total), bound };
}

/** Largest remainder method; ties go to the earlier shard. */
function roundShares(share: Float64Array, total: number): Int32Array {
  const target = Int32Array.from(share, (part) => Math.floor(part + 1e-9));
  const remainder = (i: number) => share[i]! - target[i]!;
  const order = [...share.keys()].sort((a, b) => remainder(b) - remainder(a) || a - b);
  const missing = total - target.reduce((sum, count) => sum + count, 0);
  for (const i of order.slice(0, missing)) target[i] = target[i]! + 1;
  return target;
}

/** Water filling: shares in proportion to weights; whoever is full is fixed and the rest is shared again. */
function fillShares(shards: readonly PlacementShard[], limit: Float64Array, total: number): Float64Array {
  const share = new Float64Array(shards.length);
  const isFull = new Uint8Array(shards.length);
  for (let rounds = 0; rounds <= shards.length; rounds++) {
    let rest = total;
    let weights = 0;
    for (const [i, shard] of shards.entries()) {
      if (isFull[i] === 1) rest -= limit[i]!;
      else weights += shard.weight;
    }
    let hasNewlyFull = false;
    for (const [i, shard] of shards.entries()) {
      if (isFull[i] === 1) continue;
      share[i] = (rest * shard.weight) / weights;
      if (share[i]! < limit[i]!) continue;
      share[i] = limit[i]!;
      isFull[i] = 1;
      hasNewlyFull = true;
    }
    if (!hasNewlyFull) break;
  }
  return share;
}

function infeasible(message: string, details: Readonly<Record<string, unknown>>): ServingError {
  return new ServingError("PLACEMENT_INFEASIBLE", message, { details });
}
