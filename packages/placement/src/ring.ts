import { hashPoint, hashPoints } from "./hash.js";

/** Points of a shard of weight 1. More points = evener arcs: 256 hold a shard's arc within about 6 % of its share. */
export const POINTS_PER_WEIGHT = 256;
/** A shard has at least this many points however light it is, and at most this many however heavy. */
const POINTS_MIN = 16;
const POINTS_MAX = 4096;
/** Points lie in [0, 2^53). */
const POINT_SPAN = 2 ** 53;

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
  readonly memberCount: number;
  /** Number of points of all members. */
  readonly pointCount: number;
  readonly #points: Float64Array;
  readonly #owners: Uint16Array;

  /** @param members  at most 65535, ids distinct; their order does not matter for preferences, only for the indexes */
  constructor(members: readonly RingMember[]) {
    // Relative to the heaviest: weights 100 and 200 give the ring of weights 1 and 2, at a bounded size.
    const heaviest = members.reduce((most, member) => Math.max(most, member.weight), 0);
    const scale = Math.min(1, POINTS_MAX / (heaviest * POINTS_PER_WEIGHT));
    const counts = members.map(({ weight }) => Math.max(POINTS_MIN, Math.round(weight * scale * POINTS_PER_WEIGHT)));
    this.memberCount = members.length;
    this.pointCount = counts.reduce((sum, count) => sum + count, 0);
    const points = new Float64Array(this.pointCount);
    const owners = new Uint16Array(this.pointCount);
    let at = 0;
    for (const [owner, { id }] of members.entries()) {
      const count = counts[owner] as number;
      hashPoints(id, count, points, at);
      owners.fill(owner, at, at + count);
      at += count;
    }
    [this.#points, this.#owners] = sortByPoint(points, owners, members);
  }

  /** Position on the circle where the walk of a key begins. */
  start(key: string, index: number): number {
    const point = hashPoint(key, index);
    let low = 0;
    let high = this.pointCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#points[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return low === this.pointCount ? 0 : low;
  }

  /** The member that owns a position; the next position is one higher, the last is followed by 0. */
  ownerAt(position: number): number {
    return this.#owners[position] as number;
  }
}

/**
 * Points are spread evenly, so each is put where its value says it should be, and neighbours are then brought into order:
 * linear time, where sorting 256 000 objects took most of placing on 1000 shards.
 */
function sortByPoint(
  points: Float64Array,
  owners: Uint16Array,
  members: readonly RingMember[],
): [points: Float64Array, owners: Uint16Array] {
  const count = points.length;
  const bucketOf = (point: number) => Math.min(count - 1, Math.floor((point / POINT_SPAN) * count));
  const starts = new Uint32Array(count + 1);
  for (const point of points) {
    const next = bucketOf(point) + 1;
    starts[next] = (starts[next] as number) + 1;
  }
  for (let i = 1; i <= count; i++) starts[i] = (starts[i] as number) + (starts[i - 1] as number);
  const sortedPoints = new Float64Array(count);
  const sortedOwners = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const bucket = bucketOf(points[i] as number);
    const at = starts[bucket] as number;
    starts[bucket] = at + 1;
    sortedPoints[at] = points[i] as number;
    sortedOwners[at] = owners[i] as number;
  }
  const isAfter = (point: number, owner: number, otherPoint: number, otherOwner: number) =>
    point > otherPoint ||
    (point === otherPoint && compareText(members[owner]?.id ?? "", members[otherOwner]?.id ?? "") > 0);
  for (let i = 1; i < count; i++) {
    const point = sortedPoints[i] as number;
    const owner = sortedOwners[i] as number;
    let at = i;
    while (at > 0 && isAfter(sortedPoints[at - 1] as number, sortedOwners[at - 1] as number, point, owner)) {
      sortedPoints[at] = sortedPoints[at - 1] as number;
      sortedOwners[at] = sortedOwners[at - 1] as number;
      at--;
    }
    sortedPoints[at] = point;
    sortedOwners[at] = owner;
  }
  return [sortedPoints, sortedOwners];
}

/** By UTF-16 units, as `<` does; not by locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
