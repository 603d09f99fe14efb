import { hashPoint } from "./hash.js";

/** Points of a shard of weight 1. More points = evener arcs: 256 hold a shard's arc within about 6 % of its share. */
export const POINTS_PER_WEIGHT = 256;
/** A shard has at least this many points however light it is, and at most this many however heavy. */
const POINTS_MIN = 16;
const POINTS_MAX = 4096;

export interface RingMember {
  readonly id: string;
  readonly weight: number;
}

/**
 * Consistent hashing (Karger et al., STOC 1997): every member owns points on a circle in proportion to its weight; a
 * key's preference is the order in which members appear clockwise from the key's own point. A member that joins or leaves
 * changes nothing in the relative order of the others.
 */
export class Ring {
  readonly #points: Float64Array;
  readonly #owners: Uint16Array;
  readonly #memberCount: number;

  /** @param members  at most 65535, ids distinct; their order does not matter for preferences, only for the indexes */
  constructor(members: readonly RingMember[]) {
    const points: { at: number; owner: number }[] = [];
    // Relative to the heaviest: weights 100 and 200 give the ring of weights 1 and 2, at a bounded size.
    const heaviest = members.reduce((most, member) => Math.max(most, member.weight), 0);
    const scale = Math.min(1, POINTS_MAX / (heaviest * POINTS_PER_WEIGHT));
    for (const [owner, { id, weight }] of members.entries()) {
      const count = Math.max(POINTS_MIN, Math.round(weight * scale * POINTS_PER_WEIGHT));
      for (let i = 0; i < count; i++) points.push({ at: hashPoint(id, i), owner });
    }
    points.sort((a, b) => a.at - b.at || compareText(members[a.owner]?.id ?? "", members[b.owner]?.id ?? ""));
    this.#points = Float64Array.from(points, (point) => point.at);
    this.#owners = Uint16Array.from(points, (point) => point.owner);
    this.#memberCount = members.length;
  }

  /** All members' indexes, the most preferred first, into `out` of at least as many elements. */
  preference(key: string, index: number, out: Uint16Array): void {
    const total = this.#points.length;
    const isSeen = new Uint8Array(this.#memberCount);
    let found = 0;
    for (
      let i = this.#firstAfter(hashPoint(key, index)), steps = 0;
      found < this.#memberCount && steps < total;
      steps++
    ) {
      const owner = this.#owners[i] as number;
      if (isSeen[owner] === 0) {
        isSeen[owner] = 1;
        out[found++] = owner;
      }
      i = i + 1 === total ? 0 : i + 1;
    }
  }

  #firstAfter(point: number): number {
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#points[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return low === this.#points.length ? 0 : low;
  }
}

/** By UTF-16 units, as `<` does; not by locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
