import type { Pieces } from "@shardserve/core";
import { hashPoints } from "./hash.js";

/** Points of a shard of weight 1. More points = evener arcs: 256 hold a shard's arc within about 6 % of its share. */
const POINTS_PER_WEIGHT = 256;
/** A shard has at least this many points however light it is, and at most this many however heavy. */
const POINTS_MIN = 16;
const POINTS_MAX = 4096;
/** Points lie in [0, 2^53). */
const POINT_SPAN = 2 ** 53;
/** Points that are hashed, counted or put in order between two turns: about a millisecond. */
const POINTS_PER_TURN = 16_384;

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
  /** Ascending. */
  readonly #points: Float64Array;
  readonly #owners: Uint16Array;
  /** Points of member m, ascending: those from `#ownFirst[m]` up to `#ownFirst[m + 1]`. */
  readonly #ownPoints: Float64Array;
  readonly #ownFirst: Uint32Array;

  private constructor(points: Float64Array, owners: Uint16Array, ownPoints: Float64Array, ownFirst: Uint32Array) {
    this.memberCount = ownFirst.length - 1;
    this.pointCount = points.length;
    this.#points = points;
    this.#owners = owners;
    this.#ownPoints = ownPoints;
    this.#ownFirst = ownFirst;
  }

  /** @param members  at most 65535, ids distinct; their order does not matter for preferences, only for the indexes */
  static *build(members: readonly RingMember[]): Pieces<Ring> {
    // Relative to the heaviest: weights 100 and 200 give the ring of weights 1 and 2, at a bounded size.
    const heaviest = members.reduce((most, member) => Math.max(most, member.weight), 0);
    const scale = Math.min(1, POINTS_MAX / (heaviest * POINTS_PER_WEIGHT));
    const ownFirst = new Uint32Array(members.length + 1);
    for (const [owner, { weight }] of members.entries()) {
      const count = Math.max(POINTS_MIN, Math.round(weight * scale * POINTS_PER_WEIGHT));
      ownFirst[owner + 1] = ownFirst[owner]! + count;
    }
    const pointCount = ownFirst[members.length]!;
    const points = new Float64Array(pointCount);
    const owners = new Uint16Array(pointCount);
    let turnFirst = 0;
    for (const [owner, { id }] of members.entries()) {
      const first = ownFirst[owner]!;
      const end = ownFirst[owner + 1]!;
      hashPoints(id, end - first, points, first);
      owners.fill(owner, first, end);
      if (end - turnFirst < POINTS_PER_TURN) continue;
      turnFirst = end;
      yield;
    }
    const [sortedPoints, sortedOwners] = yield* sortByPoint(points, owners, members);
    // Member by member again, `points` taken for it: what is in order stays so when it is dealt out.
    const ends = ownFirst.slice(0, -1);
    for (let i = 0; i < pointCount; i++) {
      const owner = sortedOwners[i]!;
      const at = ends[owner]!;
      points[at] = sortedPoints[i]!;
      ends[owner] = at + 1;
      if (i % POINTS_PER_TURN === POINTS_PER_TURN - 1) yield;
    }
    return new Ring(sortedPoints, sortedOwners, points, ownFirst);
  }

  /** Position on the circle where the walk from a point begins; the next is one higher, the last is followed by 0. */
  positionOf(point: number): number {
    const position = firstNotBelow(this.#points, 0, this.pointCount, point);
    return position === this.pointCount ? 0 : position;
  }

  /** The member that owns a position. */
  ownerAt(position: number): number {
    return this.#owners[position]!;
  }

  /** Clockwise from a point to the member's first: the nearer, the more preferred. In [0, 2^53). */
  distance(point: number, member: number): number {
    const first = this.#ownFirst[member]!;
    const end = this.#ownFirst[member + 1]!;
    const at = firstNotBelow(this.#ownPoints, first, end, point);
    return at < end ? this.#ownPoints[at]! - point : POINT_SPAN - point + this.#ownPoints[first]!;
  }
}

/** Index of the first of the ascending points [first, end) that is not below `point`; `end` = there is none. */
function firstNotBelow(points: Float64Array, first: number, end: number, point: number): number {
  let low = first;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (points[middle]! < point) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Points are spread evenly, so each is put where its value says it should be, and neighbours are then brought into order:
 * linear time, where sorting 256 000 objects took most of placing on 1000 shards.
 */
function* sortByPoint(
  points: Float64Array,
  owners: Uint16Array,
  members: readonly RingMember[],
): Pieces<[points: Float64Array, owners: Uint16Array]> {
  const count = points.length;
  const isTurn = (i: number) => i % POINTS_PER_TURN === POINTS_PER_TURN - 1;
  const bucketOf = (point: number) => Math.min(count - 1, Math.floor((point / POINT_SPAN) * count));
  const starts = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) {
    const next = bucketOf(points[i]!) + 1;
    starts[next] = starts[next]! + 1;
    if (isTurn(i)) yield;
  }
  for (let i = 1; i <= count; i++) starts[i] = starts[i]! + starts[i - 1]!;
  const sortedPoints = new Float64Array(count);
  const sortedOwners = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const bucket = bucketOf(points[i]!);
    const at = starts[bucket]!;
    starts[bucket] = at + 1;
    sortedPoints[at] = points[i]!;
    sortedOwners[at] = owners[i]!;
    if (isTurn(i)) yield;
  }
  const isAfter = (point: number, owner: number, otherPoint: number, otherOwner: number) =>
    point > otherPoint ||
    (point === otherPoint && compareText(members[owner]?.id ?? "", members[otherOwner]?.id ?? "") > 0);
  for (let i = 1; i < count; i++) {
    const point = sortedPoints[i]!;
    const owner = sortedOwners[i]!;
    let at = i;
    while (at > 0 && isAfter(sortedPoints[at - 1]!, sortedOwners[at - 1]!, point, owner)) {
      sortedPoints[at] = sortedPoints[at - 1]!;
      sortedOwners[at] = sortedOwners[at - 1]!;
      at--;
    }
    sortedPoints[at] = point;
    sortedOwners[at] = owner;
    if (isTurn(i)) yield;
  }
  return [sortedPoints, sortedOwners];
}

/** By UTF-16 units, as `<` does; not by locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
