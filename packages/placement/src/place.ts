import { invariant, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { Assignment } from "./assignment.js";
import { PARTITION_COUNT_MAX, type PartitionMap, REPLICATION_MAX, SHARD_COUNT_MAX } from "./partition-map.js";
import { type PlacementShard, type Quotas, quotas } from "./quota.js";
import { Preferences } from "./preferences.js";
import { compareText } from "./ring.js";

/** Whose partitions are placed, and where they are now. */
export interface PlaceOptions {
  readonly model: string;
  readonly version: number;
  /** Default 0. */
  readonly epoch?: number;
  /** Default 0: not published yet. */
  readonly generation?: number;
  /** Where the partitions are now. They stay wherever they may; absent = placed afresh. */
  readonly previous?: PartitionMap;
  /**
   * Gives every shard below its share what the others have above theirs, not only those that joined: after weights changed,
   * or where moves were broken off half-way. Default false.
   */
  readonly isLevelled?: boolean;
  /** Bytes of the largest partition, to be held against capacities. Absent = capacities are ignored. */
  readonly partitionBytes?: number;
}

/** Partitions that are looked at between two turns: a millisecond or two. */
const PARTITIONS_PER_TURN = 256;

/**
 * Places every partition on `replication` distinct shards. Pure: the same input, in any order, gives the same map.
 *
 * - Partitions follow a ring of consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).
 * - No shard holds more than LOAD_FACTOR x its weighted share (rounded; never less than the share rounded up).
 * - Replicas stand in distinct zones wherever the bounds allow it, given at least as many zones as replicas.
 * - With `previous`: a shard that joins takes its share and nothing else moves; a shard that leaves gives up what it held
 *   and nothing else moves; a shard that is closed gets nothing.
 *
 * @throws ServingError PLACEMENT_INFEASIBLE with the numbers; INVALID_ARGUMENT when an argument is out of range
 */
export function place(...args: Parameters<typeof placePieces>): PartitionMap {
  return runAtOnce(placePieces(...args));
}

/** {@link place}, in pieces of a few milliseconds with a thousand shards: for event loops that others use. */
export function* placePieces(
  shards: readonly PlacementShard[],
  partitionCount: number,
  replication: number,
  options: PlaceOptions,
): Pieces<PartitionMap> {
  const what = `${options.model} version ${options.version}`;
  checkArguments(what, shards, partitionCount, replication);
  const sorted = [...shards].sort((a, b) => compareText(a.id, b.id));
  const quota = quotas(what, sorted, {
    partitionCount,
    replication,
    partitionBytes: options.partitionBytes ?? 0,
  });
  const preference = yield* Preferences.of(sorted, partitionCount, options.model);
  const previous = options.previous?.partitionCount === partitionCount ? options.previous : undefined;

  const zones = zoneDomains(sorted, replication);
  const closed = new Set(sorted.flatMap(({ isClosed }, i) => (isClosed ? [i] : [])));
  const assignment = new Assignment(partitionCount, quota.bound, closed);
  if (zones) assignment.setDomains(zones);
  const newcomers = previous ? keep(assignment, previous, sorted, replication) : [];
  yield;
  function* fillAll(): Pieces<void> {
    yield* fill(assignment, preference, newcomers, replication, quota.target);
    if (!zones) return;
    // What no zone has room for goes wherever a shard has.
    assignment.setDomains(Int32Array.from(sorted, (_, i) => i));
    yield* fill(assignment, preference, newcomers, replication, quota.target);
    assignment.setDomains(zones);
  }
  yield* fillAll();
  yield* takeShares(assignment, newcomers, quota, preference);
  shed(assignment, preference);
  yield* fillAll();
  if (previous && options.isLevelled) yield* takeShares(assignment, sorted.keys(), quota, preference);
  if (closed.size > 0) checkPlaced(what, assignment, sorted, replication);
  return yield* toMap(assignment, sorted, preference, partitionCount, replication, options);
}

/** Where some shards get nothing, the room of all is not yet a way to use it. */
function checkPlaced(
  what: string,
  assignment: Assignment,
  sorted: readonly PlacementShard[],
  replication: number,
): void {
  let missingCount = 0;
  for (let p = 0; p < assignment.partitionCount; p++) missingCount += replication - assignment.countOf(p);
  if (missingCount === 0) return;
  const names = sorted.filter(({ isClosed }) => isClosed).map(({ id }) => id);
  throw new ServingError(
    "PLACEMENT_INFEASIBLE",
    `${what}: ${missingCount} of ${assignment.partitionCount * replication} replicas find no place beside ` +
      `${names.join(", ")}, which gets no more of it; add shards, or mend that`,
    { details: { missingCount, closed: names } },
  );
}

function checkArguments(
  what: string,
  shards: readonly PlacementShard[],
  partitionCount: number,
  replication: number,
): void {
  const refuse = (rule: string): never => {
    throw new ServingError("INVALID_ARGUMENT", `${what}: cannot be placed: ${rule}`);
  };
  const isIn = (value: number, max: number) => Number.isSafeInteger(value) && value >= 1 && value <= max;
  if (!isIn(partitionCount, PARTITION_COUNT_MAX))
    refuse(`partition count ${partitionCount} is not in [1, ${PARTITION_COUNT_MAX}]`);
  if (!isIn(replication, REPLICATION_MAX)) refuse(`replication ${replication} is not in [1, ${REPLICATION_MAX}]`);
  if (shards.length > SHARD_COUNT_MAX) refuse(`${shards.length} shards are more than ${SHARD_COUNT_MAX}`);
  for (const { id, weight } of shards)
    if (!(weight > 0 && weight < Infinity)) refuse(`shard ${id} has weight ${weight}, it must be > 0`);
  const ids = new Set(shards.map((shard) => shard.id));
  if (ids.size !== shards.length) refuse("two shards have the same id");
}

/** The zone of each shard as a number, or undefined when there are too few to give every replica its own. */
function zoneDomains(sorted: readonly PlacementShard[], replication: number): Int32Array | undefined {
  const zones = new Map<string, number>();
  const domains = Int32Array.from(sorted, ({ zone }) => {
    const known = zones.get(zone) ?? zones.size;
    zones.set(zone, known);
    return known;
  });
  return zones.size < Math.max(2, replication) ? undefined : domains;
}

/**
 * Takes over what may stay from the previous map: replicas on shards that are still there, within the replication.
 *
 * @returns indexes of the shards that the previous map does not name
 */
function keep(
  assignment: Assignment,
  previous: PartitionMap,
  sorted: readonly PlacementShard[],
  replication: number,
): number[] {
  const indexOf = new Map(sorted.map((shard, i) => [shard.id, i]));
  const indexes = Int32Array.from(previous.shards, (id) => indexOf.get(id) ?? -1);
  for (let p = 0; p < previous.partitionCount; p++) {
    for (let i = p * previous.replication; i < (p + 1) * previous.replication; i++) {
      const shard = indexes[previous.replicas[i] as number]!;
      if (shard >= 0 && assignment.countOf(p) < replication) assignment.add(p, shard, true);
    }
  }
  const known = new Set(previous.shards);
  return sorted.flatMap((shard, i) => (known.has(shard.id) ? [] : [i]));
}

/** A shard above its bound (its weight or capacity shrank) gives up the partitions that prefer it least. */
function shed(assignment: Assignment, preference: Preferences): void {
  const { partitions, first } = assignment.byShard();
  for (let shard = 0; shard < assignment.shardCount; shard++) {
    const excess = assignment.excess(shard);
    if (excess === 0) continue;
    const held = [...partitions.subarray(first[shard], first[shard + 1])].map((partition) => ({
      partition,
      distance: preference.distance(partition, shard),
    }));
    held.sort((a, b) => b.distance - a.distance || a.partition - b.partition);
    for (const { partition } of held.slice(0, excess)) assignment.remove(partition, shard);
  }
}

/** Gives every partition its missing replicas where the domains allow it. */
function* fill(
  assignment: Assignment,
  preference: Preferences,
  newcomers: readonly number[],
  replication: number,
  target: Int32Array,
): Pieces<void> {
  const hungry = new Set(newcomers);
  for (let p = 0; p < assignment.partitionCount; p++) {
    for (let count = assignment.countOf(p); count < replication; count++) {
      for (const newcomer of hungry) if (!assignment.hasRoom(newcomer)) hungry.delete(newcomer);
      const choice = choose(assignment, p, preference, hungry, target);
      if (choice >= 0) {
        assignment.add(p, choice);
        continue;
      }
      const isPlaced = assignment.augment(p, false) || assignment.augment(p, true);
      yield; // a search through the whole cluster
      if (!isPlaced) break;
    }
    if (p % PARTITIONS_PER_TURN === PARTITIONS_PER_TURN - 1) yield;
  }
}

/**
 * The shard for one more replica, in ring order: a newcomer with room (what has to move anyway goes to whom more would have
 * to move), else one below its target, else one below its bound. -1 = none. Targets before bounds keep the slack for later
 * changes: were all shards but one at their bound, a newcomer could not take all that has to go.
 */
function choose(
  assignment: Assignment,
  partition: number,
  preference: Preferences,
  hungry: ReadonlySet<number>,
  target: Int32Array,
): number {
  let belowTarget = -1;
  let belowBound = -1;
  const best = preference.find(partition, (shard) => {
    if (!assignment.hasRoom(shard) || !assignment.isOpen(partition, shard)) return false;
    if (hungry.has(shard)) return true;
    if (belowBound < 0) belowBound = shard;
    if (belowTarget >= 0 || assignment.load[shard]! >= target[shard]!) return false;
    belowTarget = shard;
    return hungry.size === 0;
  });
  if (best >= 0) return best;
  return belowTarget >= 0 ? belowTarget : belowBound;
}

/** Each of some shards takes its share, in this order, from those that have more than theirs. */
function* takeShares(
  assignment: Assignment,
  takers: Iterable<number>,
  { share }: Quotas,
  preference: Preferences,
): Pieces<void> {
  // Whoever gives only loses: what it held at first is all that it can be asked for.
  const { partitions, first } = assignment.byShard();
  const heldBy = (shard: number) => partitions.subarray(first[shard], first[shard + 1]);
  for (const taker of takers) {
    const wanted = Math.floor(share[taker]! + 1e-9);
    if (assignment.load[taker]! >= wanted || assignment.isClosed(taker)) continue;
    takeShare(assignment, taker, wanted, { share, heldBy, preference });
    yield;
  }
}

/** Moves partitions to a shard until it has what it wants, each time from the fullest, never below that one's share. */
function takeShare(
  assignment: Assignment,
  taker: number,
  wanted: number,
  {
    share,
    heldBy,
    preference,
  }: {
    readonly share: Float64Array;
    readonly heldBy: (shard: number) => Uint32Array;
    readonly preference: Preferences;
  },
): void {
  const fullness = Float64Array.from(assignment.load, (load, shard) => load / share[shard]!);
  /** Sorted only for those whose turn comes. */
  const offers = new Map<number, number[]>();
  while (assignment.load[taker]! < wanted) {
    let fullest = 0;
    for (let shard = 1; shard < fullness.length; shard++) {
      if (fullness[shard]! > fullness[fullest]!) fullest = shard;
    }
    if (fullness[fullest]! <= 1) return;
    const offered = offers.get(fullest) ?? offersOf(assignment, heldBy(fullest), fullest, taker, preference);
    offers.set(fullest, offered);
    const partition = offered.pop();
    if (partition === undefined) {
      fullness[fullest] = 0; // nothing left that it could give
      continue;
    }
    if (!assignment.canMove(partition, fullest, taker)) continue; // another replica of it went there before
    assignment.remove(partition, fullest);
    assignment.add(partition, taker);
    fullness[fullest] = assignment.load[fullest]! / share[fullest]!;
  }
}

/**
 * What of a donor's partitions may go to the taker, those that prefer the taker most over the donor last: a shard that comes
 * back is given most of what it had, and may have on its disk.
 */
function offersOf(
  assignment: Assignment,
  partitions: Uint32Array,
  donor: number,
  taker: number,
  preference: Preferences,
): number[] {
  const offers: { readonly partition: number; readonly gain: number }[] = [];
  for (const partition of partitions) {
    if (!assignment.canMove(partition, donor, taker)) continue;
    const gain = preference.distance(partition, donor) - preference.distance(partition, taker);
    offers.push({ partition, gain });
  }
  offers.sort((a, b) => a.gain - b.gain || b.partition - a.partition);
  return offers.map((offer) => offer.partition);
}

function* toMap(
  assignment: Assignment,
  sorted: readonly PlacementShard[],
  preference: Preferences,
  partitionCount: number,
  replication: number,
  options: PlaceOptions,
): Pieces<PartitionMap> {
  const named = sorted.map((_, i) => i).filter((i) => assignment.load[i]! > 0);
  const indexOf = new Uint16Array(sorted.length);
  for (const [i, shard] of named.entries()) indexOf[shard] = i;
  const replicas = new Uint16Array(partitionCount * replication);
  for (let p = 0; p < partitionCount; p++) {
    const row = [...assignment.shardsOf(p)].sort((a, b) => preference.distance(p, a) - preference.distance(p, b));
    invariant(row.length === replication, `partition ${p} has ${row.length} of ${replication} replicas`);
    for (const [i, shard] of row.entries()) replicas[p * replication + i] = indexOf[shard]!;
    if (p % PARTITIONS_PER_TURN === PARTITIONS_PER_TURN - 1) yield;
  }
  return {
    generation: options.generation ?? 0,
    model: options.model,
    version: options.version,
    epoch: options.epoch ?? 0,
    partitionCount,
    replication,
    shards: named.map((i) => sorted[i]!.id),
    replicas,
  };
}
