import type { Pieces } from "@shardserve/core";
import { hashPoints } from "./hash.js";
import { Ring, type RingMember } from "./ring.js";

/**
 * In which order each partition prefers the shards: the ring's. Nothing of it is stored: placing looks at a few shards of most
 * partitions, and how near a certain one is takes one search among its own points.
 *
 * Keyed by model, not by version: a partition of the next version goes where its unchanged files lie already.
 */
export class Preferences {
  readonly #ring: Ring;
  /** Where on the ring each partition stands. */
  readonly #points: Float64Array;
  /** By shard: the walk that met it last. */
  readonly #metBy: Uint32Array;
  #walk = 0;

  private constructor(ring: Ring, points: Float64Array) {
    this.#ring = ring;
    this.#points = points;
    this.#metBy = new Uint32Array(ring.memberCount);
  }

  static *of(shards: readonly RingMember[], partitionCount: number, model: string): Pieces<Preferences> {
    const ring = yield* ringOf(shards);
    const points = new Float64Array(partitionCount);
    hashPoints(model, partitionCount, points, 0);
    return new Preferences(ring, points);
  }

  /** The most preferred shard that is accepted; each is asked for at most once. -1 = none. */
  find(partition: number, isAccepted: (shard: number) => boolean): number {
    const walk = ++this.#walk;
    const { memberCount, pointCount } = this.#ring;
    let position = this.#ring.positionOf(this.#points[partition]!);
    for (let metCount = 0; metCount < memberCount; position = position + 1 === pointCount ? 0 : position + 1) {
      const shard = this.#ring.ownerAt(position);
      if (this.#metBy[shard] === walk) continue;
      if (isAccepted(shard)) return shard;
      this.#metBy[shard] = walk;
      metCount++;
    }
    return -1;
  }

  /** How far down a partition's order a shard stands: comparable between shards and between partitions. */
  distance(partition: number, shard: number): number {
    return this.#ring.distance(this.#points[partition]!, shard);
  }
}

/** The ring that was built last: all models and versions of a cluster are placed on the same shards. */
let last: { readonly members: string; readonly ring: Ring } | undefined;

function* ringOf(shards: readonly RingMember[]): Pieces<Ring> {
  const members = JSON.stringify(shards.map(({ id, weight }) => [id, weight]));
  if (last?.members === members) return last.ring;
  const ring = yield* Ring.build(shards);
  last = { members, ring };
  return ring;
}
