import { Ring, type RingMember } from "./ring.js";

/** First room for the order of one partition; it grows as far as somebody asks. */
const RANKS_FIRST = 8;
const UNRANKED = 0;

/**
 * In which order each partition prefers the shards: the ring's, walked only as far as it is asked for. Placing looks at a few ranks of
 * most partitions; with 1000 shards the whole order would cost thousands of steps around the ring for each.
 *
 * Keyed by model, not by version: a partition of the next version goes where its unchanged files lie already.
 */
export class Preferences {
  readonly shardCount: number;
  readonly #model: string;
  readonly #ring: Ring;
  /** Per partition: shards in order, as far as known. */
  readonly #orders: Uint16Array[] = [];
  readonly #knownCounts: Uint32Array;
  /** Per partition: where its walk goes on. */
  readonly #positions: Uint32Array;
  /** [partition, shard]: 1 + rank as far as known (saturated: ranks beyond 65 534 cannot be, there are fewer shards). */
  readonly #ranks: Uint16Array;

  constructor(shards: readonly RingMember[], partitionCount: number, model: string) {
    this.shardCount = shards.length;
    this.#model = model;
    this.#ring = ringOf(shards);
    this.#knownCounts = new Uint32Array(partitionCount);
    this.#positions = new Uint32Array(partitionCount);
    this.#ranks = new Uint16Array(partitionCount * shards.length);
  }

  /** The shard of a rank, 0 being the most preferred. */
  shardAt(partition: number, rank: number): number {
    while ((this.#knownCounts[partition] as number) <= rank) this.#next(partition);
    return (this.#orders[partition] as Uint16Array)[rank] as number;
  }

  rankOf(partition: number, shard: number): number {
    const at = partition * this.shardCount + shard;
    while (this.#ranks[at] === UNRANKED) this.#next(partition);
    return (this.#ranks[at] as number) - 1;
  }

  /** Walks to the next shard that the partition has not met yet; there is one. */
  #next(partition: number): void {
    const base = partition * this.shardCount;
    const known = this.#knownCounts[partition] as number;
    let position = known === 0 ? this.#ring.start(this.#model, partition) : (this.#positions[partition] as number);
    while (this.#ranks[base + this.#ring.ownerAt(position)] !== UNRANKED) {
      position = position + 1 === this.#ring.pointCount ? 0 : position + 1;
    }
    const shard = this.#ring.ownerAt(position);
    this.#ranks[base + shard] = known + 1;
    this.#orderOf(partition, known)[known] = shard;
    this.#knownCounts[partition] = known + 1;
    this.#positions[partition] = position;
  }

  #orderOf(partition: number, length: number): Uint16Array {
    const order = this.#orders[partition];
    if (order && order.length > length) return order;
    const grown = new Uint16Array(Math.min(this.shardCount, Math.max(RANKS_FIRST, 4 * length)));
    if (order) grown.set(order);
    this.#orders[partition] = grown;
    return grown;
  }
}

/** The ring that was built last: all models and versions of a cluster are placed on the same shards. */
let last: { readonly members: string; readonly ring: Ring } | undefined;

function ringOf(shards: readonly RingMember[]): Ring {
  const members = JSON.stringify(shards.map(({ id, weight }) => [id, weight]));
  if (last?.members !== members) last = { members, ring: new Ring(shards) };
  return last.ring;
}
