import type { Random } from "@shardserve/core";
import type { Routes } from "../fetch/frame-plan.js";
import type { ShardLink } from "./shard-link.js";

/** How a link may be used in one plan; the higher the better. */
const TIER = { NONE: 0, LAST_RESORT: 1, USABLE: 2, PROBE: 3 } as const;
/** A replica in another zone is asked when those in our own have twice the load. */
const OTHER_ZONE_FACTOR = 2;
const NO_REPLICA = -1;

/** What the choice of a replica looks at beside health and load. */
export interface ChoiceOptions {
  /** Links that failed this batch already. */
  readonly avoid: ReadonlySet<ShardLink>;
  /** Our failure domain; "" = no preference. */
  readonly zone: string;
  /** The rows are asked for a second time, which only a shard that is well is worth. */
  readonly isHedge: boolean;
  readonly nowMs: number;
}

/**
 * Which replica is asked for a partition, for the time of one plan. Of two picked at random, one of them in our own zone
 * where there is one, it is that with fewer rows in flight, weighed by its mean latency. Shards with an open circuit are
 * asked only where no other replica is left, or one partition's rows to see whether they are well again.
 */
export class ReplicaChoice {
  readonly #routes: Routes;
  readonly #random: Random;
  readonly #nowMs: number;
  readonly #tiers: Uint8Array;
  readonly #isNear: Uint8Array;
  /** Cost of one row in flight, relative to other links. */
  readonly #unitCosts: Float64Array;
  /** Rows in flight, those of this plan included. */
  readonly #rows: Float64Array;

  constructor(routes: Routes, options: ChoiceOptions, random: Random) {
    const { links } = routes;
    const { avoid, zone, isHedge, nowMs } = options;
    this.#routes = routes;
    this.#random = random;
    this.#nowMs = nowMs;
    this.#tiers = new Uint8Array(links.length);
    this.#isNear = new Uint8Array(links.length);
    this.#unitCosts = new Float64Array(links.length);
    this.#rows = new Float64Array(links.length);
    for (let i = 0; i < links.length; i++) {
      const link = links[i]!;
      if (avoid.has(link)) continue;
      const state = link.health.circuit.state(nowMs);
      if (state !== "closed" && isHedge) continue;
      this.#tiers[i] = state === "closed" ? TIER.USABLE : state === "probe" ? TIER.PROBE : TIER.LAST_RESORT;
      this.#isNear[i] = zone !== "" && link.zone === zone ? 1 : 0;
      this.#rows[i] = link.rowsInFlight;
      this.#unitCosts[i] = link.health.meanMs(nowMs) * (this.#isNear[i] === 1 || zone === "" ? 1 : OTHER_ZONE_FACTOR);
    }
  }

  /** @returns index of the link to ask for a partition's rows; -1 when no replica can be asked */
  choose(partition: number): number {
    const { map } = this.#routes;
    const start = partition * map.replication;
    const end = start + map.replication;
    let tier: number = TIER.NONE;
    let count = 0;
    let nearCount = 0;
    for (let at = start; at < end; at++) {
      const link = map.replicas[at]!;
      const own = this.#tierOf(link, partition);
      if (own < tier || own === TIER.NONE) continue;
      if (own > tier) {
        tier = own;
        count = 0;
        nearCount = 0;
      }
      count++;
      nearCount += this.#isNear[link]!;
    }
    if (count === 0) return NO_REPLICA;
    const link = this.#pick(partition, tier, count, nearCount);
    if (tier !== TIER.USABLE) this.#probe(link);
    return link;
  }

  /** One more row of this plan goes to the link. */
  assign(link: number): void {
    this.#rows[link] = this.#rows[link]! + 1;
  }

  #pick(partition: number, tier: number, count: number, nearCount: number): number {
    if (count === 1) return this.#nth(partition, tier, 0, -1);
    const isZoned = nearCount > 0 && nearCount < count;
    const first = isZoned
      ? this.#nth(partition, tier, this.#below(nearCount), 1)
      : this.#nth(partition, tier, this.#below(count), -1);
    let second: number;
    do second = this.#nth(partition, tier, this.#below(count), -1);
    while (second === first);
    return this.#isCheaper(second, first) ? second : first;
  }

  /** @param near  1 = only links in our zone count; -1 = all */
  #nth(partition: number, tier: number, wanted: number, near: 1 | -1): number {
    const { map } = this.#routes;
    const start = partition * map.replication;
    for (let at = start, seen = 0; at < start + map.replication; at++) {
      const link = map.replicas[at]!;
      if (this.#tierOf(link, partition) !== tier || (near === 1 && this.#isNear[link] === 0)) continue;
      if (seen++ === wanted) return link;
    }
    return NO_REPLICA;
  }

  #tierOf(link: number, partition: number): number {
    const tier = this.#tiers[link]!;
    return tier !== TIER.NONE && this.#routes.links[link]?.holds(partition) ? tier : TIER.NONE;
  }

  #isCheaper(a: number, b: number): boolean {
    const rowsA = this.#rows[a]!;
    const rowsB = this.#rows[b]!;
    const costA = this.#unitCosts[a]!;
    const costB = this.#unitCosts[b]!;
    if (costA === 0 || costB === 0) {
      if (this.#isNear[a] !== this.#isNear[b]) return this.#isNear[a] === 1;
      return rowsA < rowsB; // one of them never answered: load is all we know
    }
    return (rowsA + 1) * costA < (rowsB + 1) * costB;
  }

  /** The rows of one partition are enough to see whether a shard is well. */
  #probe(link: number): void {
    this.#routes.links[link]!.health.circuit.probing(this.#nowMs);
    this.#tiers[link] = TIER.LAST_RESORT;
  }

  #below(count: number): number {
    return Math.floor(this.#random.next() * count);
  }
}
