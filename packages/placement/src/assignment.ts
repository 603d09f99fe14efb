import { invariant } from "@shardserve/core";
import { augmentingPath } from "./augmenting-path.js";
import { REPLICATION_MAX } from "./partition-map.js";

/**
 * Who holds what while a placement is computed: partitions x shards, with the domains (zones, or the shards themselves)
 * that a partition's replicas must not share. A partition has a handful of replicas, so every question about one is a look
 * at its row, and nothing is as large as partitions x shards.
 */
export class Assignment {
  readonly partitionCount: number;
  readonly shardCount: number;
  /** Replicas on each shard. */
  readonly load: Int32Array;
  readonly #bound: Int32Array;
  /** Shards that get nothing but what they are given as kept. */
  readonly #closed: ReadonlySet<number>;
  /** Domain of each shard. */
  #domains: Int32Array;
  /** [partition, REPLICATION_MAX]: the shards of each partition in no order, and how many they are. */
  readonly #rows: Uint16Array;
  readonly #rowLengths: Uint8Array;
  /** Beside `#rows`: 1 where the replica is only moved when nothing else helps. */
  readonly #isKept: Uint8Array;
  /** Shards that no path leads on from, for augment without and with kept replicas; undefined = none known. */
  #dead: [Uint8Array | undefined, Uint8Array | undefined] = [undefined, undefined];

  /** @param closed  shards that get nothing but what they are given as kept */
  constructor(partitionCount: number, bound: Int32Array, closed: ReadonlySet<number> = new Set()) {
    this.partitionCount = partitionCount;
    this.shardCount = bound.length;
    this.load = new Int32Array(bound.length);
    this.#bound = bound;
    this.#closed = closed;
    this.#domains = Int32Array.from(bound, (_, shard) => shard);
    this.#rows = new Uint16Array(partitionCount * REPLICATION_MAX);
    this.#rowLengths = new Uint8Array(partitionCount);
    this.#isKept = new Uint8Array(partitionCount * REPLICATION_MAX);
  }

  /** Replicas that a partition has so far. */
  countOf(partition: number): number {
    return this.#rowLengths[partition]!;
  }

  /** The shards that hold a partition, in no order; a view. */
  shardsOf(partition: number): Uint16Array {
    const first = partition * REPLICATION_MAX;
    return this.#rows.subarray(first, first + this.countOf(partition));
  }

  /** The partitions of every shard, ascending: those of shard s are `partitions[first[s]]` up to `partitions[first[s + 1]]`. */
  byShard(): { readonly partitions: Uint32Array; readonly first: Uint32Array } {
    const first = new Uint32Array(this.shardCount + 1);
    for (let s = 0; s < this.shardCount; s++) first[s + 1] = first[s]! + this.load[s]!;
    const partitions = new Uint32Array(first[this.shardCount]!);
    const ends = first.slice(0, -1);
    for (let p = 0; p < this.partitionCount; p++) {
      for (const s of this.shardsOf(p)) {
        partitions[ends[s]!] = p;
        ends[s] = ends[s]! + 1;
      }
    }
    return { partitions, first };
  }

  /** Changes what replicas of one partition must not share; what is held stays, also where it now shares. */
  setDomains(domains: Int32Array): void {
    this.#domains = domains;
    this.#dead = [undefined, undefined];
  }

  domainOf(shard: number): number {
    return this.#domains[shard]!;
  }

  holds(partition: number, shard: number): boolean {
    return this.#slotOf(partition, shard) >= 0;
  }

  /** True when no replica of the partition stands in the domain. */
  isFree(partition: number, domain: number): boolean {
    const first = partition * REPLICATION_MAX;
    for (let i = first; i < first + this.countOf(partition); i++) {
      if (this.#domains[this.#rows[i]!] === domain) return false;
    }
    return true;
  }

  /** True when the shard may take the partition: does not hold it, and no replica stands in its domain. */
  isOpen(partition: number, shard: number): boolean {
    return this.isFree(partition, this.domainOf(shard)); // who holds it stands in its own domain
  }

  /** True when the partition may go from one shard to another. */
  canMove(partition: number, from: number, to: number): boolean {
    if (!this.holds(partition, from) || this.holds(partition, to)) return false;
    return this.#domains[from] === this.#domains[to] || this.isOpen(partition, to);
  }

  /** True when a replica may be moved out of the way. */
  mayLeave(partition: number, shard: number, mayMoveKept: boolean): boolean {
    return mayMoveKept || this.#isKept[this.#slotOf(partition, shard)] === 0;
  }

  isClosed(shard: number): boolean {
    return this.#closed.has(shard);
  }

  hasRoom(shard: number): boolean {
    return !this.isClosed(shard) && this.load[shard]! < this.#bound[shard]!;
  }

  excess(shard: number): number {
    return Math.max(0, this.load[shard]! - this.#bound[shard]!);
  }

  /** @param isKept  moved only when nothing else helps */
  add(partition: number, shard: number, isKept = false): void {
    invariant(!this.holds(partition, shard), `partition ${partition} is on shard ${shard} already`);
    const length = this.countOf(partition);
    invariant(length < REPLICATION_MAX, `partition ${partition} has ${length} replicas already`);
    const slot = partition * REPLICATION_MAX + length;
    this.#rows[slot] = shard;
    this.#isKept[slot] = isKept ? 1 : 0;
    this.#rowLengths[partition] = length + 1;
    this.load[shard] = this.load[shard]! + 1;
  }

  remove(partition: number, shard: number): void {
    this.#take(partition, shard);
    this.#dead = [undefined, undefined]; // there is room now where there was none
  }

  /**
   * Gives `partition` one more replica by moving others out of the way.
   *
   * @param mayMoveKept  whether kept replicas may be moved as well
   * @returns false when no arrangement within the bounds has room
   */
  augment(partition: number, mayMoveKept: boolean): boolean {
    const isDead = (this.#dead[mayMoveKept ? 1 : 0] ??= new Uint8Array(this.shardCount));
    const path = augmentingPath(this, partition, { mayMoveKept, isDead });
    if (!path) return false;
    for (const { partition: moved, from } of path) if (from >= 0) this.#take(moved, from);
    for (const { partition: moved, to } of path) this.add(moved, to);
    if (mayMoveKept) this.#dead[0] = undefined; // what was kept and moved may be moved again
    return true;
  }

  #take(partition: number, shard: number): void {
    const slot = this.#slotOf(partition, shard);
    invariant(slot >= 0, `partition ${partition} is not on shard ${shard}`);
    const last = partition * REPLICATION_MAX + this.countOf(partition) - 1;
    this.#rows[slot] = this.#rows[last]!;
    this.#isKept[slot] = this.#isKept[last]!;
    this.#rowLengths[partition] = this.countOf(partition) - 1;
    this.load[shard] = this.load[shard]! - 1;
  }

  /** Where in `#rows` a partition has a shard; -1 = nowhere. */
  #slotOf(partition: number, shard: number): number {
    const first = partition * REPLICATION_MAX;
    for (let i = first; i < first + this.countOf(partition); i++) if (this.#rows[i] === shard) return i;
    return -1;
  }
}
