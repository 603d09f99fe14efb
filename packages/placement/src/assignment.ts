import { invariant } from "@shardserve/core";
import { REPLICATION_MAX } from "./partition-map.js";

/**
 * Who holds what while a placement is computed: partitions x shards, with the domains (zones, or the shards themselves)
 * that a partition's replicas must not share.
 *
 * Filling is a maximum flow: partition -> domain of that partition -> shard. `augment` finds a shortest residual path
 * (Edmonds, Karp 1972), so a replica is refused only when no arrangement within the bounds has room for it.
 */
export class Assignment {
  readonly partitionCount: number;
  readonly shardCount: number;
  /** Replicas on each shard. */
  readonly load: Int32Array;
  readonly #bound: Int32Array;
  /** [partition, shard]: 1 where held, 2 where held and only moved when nothing else helps. */
  readonly #held: Uint8Array;
  /** Domain of each shard, and replicas per [partition, domain]. */
  #domain: Int32Array;
  #domainCount: number;
  #used: Uint8Array;
  /** [partition, REPLICATION_MAX]: the shards of each partition in no order, and how many they are. */
  readonly #rows: Uint16Array;
  readonly #rowLengths: Uint8Array;
  /**
   * Nodes that cannot reach a shard with room, for augment without and with kept replicas; undefined = none known. What
   * is reachable from a node without a way out stays so, because later paths cannot pass through it.
   */
  #dead: [Uint8Array | undefined, Uint8Array | undefined] = [undefined, undefined];

  constructor(partitionCount: number, bound: Int32Array) {
    this.partitionCount = partitionCount;
    this.shardCount = bound.length;
    this.load = new Int32Array(bound.length);
    this.#bound = bound;
    this.#held = new Uint8Array(partitionCount * bound.length);
    this.#domain = Int32Array.from(bound, (_, shard) => shard);
    this.#domainCount = bound.length;
    this.#used = new Uint8Array(partitionCount * bound.length);
    this.#rows = new Uint16Array(partitionCount * REPLICATION_MAX);
    this.#rowLengths = new Uint8Array(partitionCount);
  }

  /** Replicas that a partition has so far. */
  countOf(partition: number): number {
    return this.#rowLengths[partition] as number;
  }

  /** The shards that hold a partition, in no order. */
  shardsOf(partition: number): number[] {
    const first = partition * REPLICATION_MAX;
    return [...this.#rows.subarray(first, first + this.countOf(partition))];
  }

  /** Changes what replicas of one partition must not share; what is held stays, also where it now shares. */
  setDomains(domain: Int32Array, domainCount: number): void {
    this.#domain = domain;
    this.#domainCount = domainCount;
    this.#used = new Uint8Array(this.partitionCount * domainCount);
    this.#dead = [undefined, undefined];
    for (let p = 0; p < this.partitionCount; p++) {
      for (const s of this.shardsOf(p)) this.#countDomain(p, s, 1);
    }
  }

  holds(partition: number, shard: number): boolean {
    return this.#held[partition * this.shardCount + shard] !== 0;
  }

  /** True when the shard may take the partition: does not hold it, and no replica stands in its domain. */
  isOpen(partition: number, shard: number): boolean {
    return !this.holds(partition, shard) && this.#usedBy(partition, this.#domain[shard] as number) === 0;
  }

  /** True when the partition may go from one shard to another. */
  canMove(partition: number, from: number, to: number): boolean {
    if (!this.holds(partition, from) || this.holds(partition, to)) return false;
    return this.#domain[from] === this.#domain[to] || this.#usedBy(partition, this.#domain[to] as number) === 0;
  }

  hasRoom(shard: number): boolean {
    return (this.load[shard] as number) < (this.#bound[shard] as number);
  }

  excess(shard: number): number {
    return Math.max(0, (this.load[shard] as number) - (this.#bound[shard] as number));
  }

  /** @param isKept  moved only when nothing else helps */
  add(partition: number, shard: number, isKept = false): void {
    invariant(!this.holds(partition, shard), `partition ${partition} is on shard ${shard} already`);
    this.#held[partition * this.shardCount + shard] = isKept ? 2 : 1;
    this.load[shard] = (this.load[shard] as number) + 1;
    const length = this.countOf(partition);
    invariant(length < REPLICATION_MAX, `partition ${partition} has ${length} replicas already`);
    this.#rows[partition * REPLICATION_MAX + length] = shard;
    this.#rowLengths[partition] = length + 1;
    this.#countDomain(partition, shard, 1);
  }

  remove(partition: number, shard: number): void {
    invariant(this.holds(partition, shard), `partition ${partition} is not on shard ${shard}`);
    this.#held[partition * this.shardCount + shard] = 0;
    this.load[shard] = (this.load[shard] as number) - 1;
    const first = partition * REPLICATION_MAX;
    const last = first + this.countOf(partition) - 1;
    const at = this.#rows.indexOf(shard, first);
    this.#rows[at] = this.#rows[last] as number;
    this.#rowLengths[partition] = last - first;
    this.#countDomain(partition, shard, -1);
  }

  /**
   * Gives `partition` one more replica by moving others out of the way.
   *
   * @param mayMoveKept  whether kept replicas may be moved as well
   * @returns false when no arrangement within the bounds has room
   */
  augment(partition: number, mayMoveKept: boolean): boolean {
    const shards = this.shardCount;
    const domains = this.#domainCount;
    const firstPair = this.partitionCount;
    const firstShard = firstPair + this.partitionCount * domains;
    const dead = (this.#dead[mayMoveKept ? 1 : 0] ??= new Uint8Array(firstShard + shards));
    if (dead[partition] === 1) return false;
    const parent = new Int32Array(firstShard + shards).fill(-1);
    const queue = [partition];
    parent[partition] = partition;
    const visit = (node: number, from: number) => {
      if (parent[node] !== -1 || dead[node] === 1) return;
      parent[node] = from;
      queue.push(node);
    };
    for (let head = 0; head < queue.length; head++) {
      const node = queue[head] as number;
      if (node < firstPair) {
        for (let d = 0; d < domains; d++) if (this.#usedBy(node, d) === 0) visit(firstPair + node * domains + d, node);
      } else if (node < firstShard) {
        const p = Math.floor((node - firstPair) / domains);
        const d = (node - firstPair) % domains;
        for (let s = 0; s < shards; s++) if (this.#domain[s] === d && !this.holds(p, s)) visit(firstShard + s, node);
        if (this.#usedBy(p, d) > 0) visit(p, node);
      } else {
        const s = node - firstShard;
        if (this.hasRoom(s)) {
          this.#applyPath(parent, node, firstPair, firstShard);
          if (mayMoveKept) this.#dead[0] = undefined; // what was kept and moved may be moved again
          return true;
        }
        for (let p = 0; p < this.partitionCount; p++) {
          const held = this.#held[p * shards + s];
          if (held === 1 || (held === 2 && mayMoveKept))
            visit(firstPair + p * domains + (this.#domain[s] as number), node);
        }
      }
    }
    for (const node of queue) dead[node] = 1;
    return false;
  }

  /** Walks the path back: each pair -> shard step adds a replica, each shard -> pair step takes one away. */
  #applyPath(parent: Int32Array, last: number, firstPair: number, firstShard: number): void {
    const steps: { partition: number; shard: number; isAdded: boolean }[] = [];
    for (
      let node = last, before = parent[node] as number;
      before !== node;
      node = before, before = parent[node] as number
    ) {
      const pair = node >= firstShard ? before : node;
      const shard = node >= firstShard ? node : before;
      if (shard < firstShard) continue; // between a partition and its own pair nothing is held
      const partition = Math.floor((pair - firstPair) / this.#domainCount);
      steps.push({ partition, shard: shard - firstShard, isAdded: node >= firstShard });
    }
    for (const { partition, shard, isAdded } of steps) if (!isAdded) this.remove(partition, shard);
    for (const { partition, shard, isAdded } of steps) if (isAdded) this.add(partition, shard);
  }

  #usedBy(partition: number, domain: number): number {
    return this.#used[partition * this.#domainCount + domain] as number;
  }

  #countDomain(partition: number, shard: number, by: number): void {
    const i = partition * this.#domainCount + (this.#domain[shard] as number);
    this.#used[i] = (this.#used[i] as number) + by;
  }
}
