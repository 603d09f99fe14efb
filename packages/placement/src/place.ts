import { invariant, ServingError } from "@shardserve/core";
import { Assignment } from "./assignment.js";
import {
  PARTITION_COUNT_MAX,
  type PartitionMap,
  REPLICATION_MAX,
  replicasOf,
  SHARD_COUNT_MAX,
} from "./partition-map.js";
import { type PlacementShard, type Quotas, quotas } from "./quota.js";
import { Preferences } from "./preferences.js";
import { compareText } from "./ring.js";

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

/** No shard above 1.1 x its share. */
const LOAD_FACTOR = 1.1;

/**
 * Places every partition on `replication` distinct shards. Pure: the same input, in any order, gives the same map.
 *
 * - Partitions follow a ring of consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).
 * - No shard holds more than 1.1 x its weighted share (rounded; never less than the share rounded up).
 * - Replicas stand in distinct zones wherever the bounds allow it, given at least as many zones as replicas.
 * - With `previous`: a shard that joins takes its share and nothing else moves; a shard that leaves gives up what it held
 *   and nothing else moves.
 *
 * @throws ServingError PLACEMENT_INFEASIBLE with the numbers; INVALID_ARGUMENT when an argument is out of range
 */
export function place(
  shards: readonly PlacementShard[],
  partitionCount: number,
  replication: number,
  options: PlaceOptions,
): PartitionMap {
  const what = `${options.model} version ${options.version}`;
  checkArguments(what, shards, partitionCount, replication);
  const sorted = [...shards].sort((a, b) => compareText(a.id, b.id));
  const quota = quotas(what, sorted, {
    partitionCount,
    replication,
    partitionBytes: options.partitionBytes ?? 0,
    loadFactor: LOAD_FACTOR,
  });
  const preference = new Preferences(sorted, partitionCount, options.model);
  const previous = options.previous?.partitionCount === partitionCount ? options.previous : undefined;

  const zones = zoneDomains(sorted, replication);
  const assignment = new Assignment(partitionCount, quota.bound);
  if (zones) assignment.setDomains(zones.domain, zones.count);
  const newcomers = previous ? keep(assignment, previous, sorted, replication) : [];
  const fillAll = () => {
    fill(assignment, preference, newcomers, replication, quota.target);
    if (!zones) return;
    // What no zone has room for goes wherever a shard has.
    assignment.setDomains(
      Int32Array.from(sorted, (_, i) => i),
      sorted.length,
    );
    fill(assignment, preference, newcomers, replication, quota.target);
    assignment.setDomains(zones.domain, zones.count);
  };
  fillAll();
  for (const newcomer of newcomers) takeShare(assignment, newcomer, quota, preference);
  shed(assignment, preference);
  fillAll();
  if (previous && options.isLevelled) {
    for (const shard of sorted.keys()) takeShare(assignment, shard, quota, preference);
  }
  return toMap(assignment, sorted, preference, partitionCount, replication, options);
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

/** Zones as domains, or undefined when there are too few to give every replica its own. */
function zoneDomains(
  sorted: readonly PlacementShard[],
  replication: number,
): { readonly domain: Int32Array; readonly count: number } | undefined {
  const zones = [...new Set(sorted.map((shard) => shard.zone))];
  if (zones.length < Math.max(2, replication)) return undefined;
  return { domain: Int32Array.from(sorted, (shard) => zones.indexOf(shard.zone)), count: zones.length };
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
  for (let p = 0; p < previous.partitionCount; p++) {
    const staying = replicasOf(previous, p).flatMap((id) => indexOf.get(id) ?? []);
    for (const shard of staying.slice(0, replication)) assignment.add(p, shard, true);
  }
  const known = new Set(previous.shards);
  return sorted.flatMap((shard, i) => (known.has(shard.id) ? [] : [i]));
}

/** A shard above its bound (its weight or capacity shrank) gives up the partitions that prefer it least. */
function shed(assignment: Assignment, preference: Preferences): void {
  for (let shard = 0; shard < assignment.shardCount; shard++) {
    const excess = assignment.excess(shard);
    if (excess === 0) continue;
    const held: { partition: number; rank: number }[] = [];
    for (let p = 0; p < assignment.partitionCount; p++) {
      if (assignment.holds(p, shard)) held.push({ partition: p, rank: preference.rankOf(p, shard) });
    }
    held.sort((a, b) => b.rank - a.rank || a.partition - b.partition);
    for (const { partition } of held.slice(0, excess)) assignment.remove(partition, shard);
  }
}

/** Gives every partition its missing replicas where the domains allow it. */
function fill(
  assignment: Assignment,
  preference: Preferences,
  newcomers: readonly number[],
  replication: number,
  target: Int32Array,
): void {
  const isNewcomer = new Set(newcomers);
  for (let p = 0; p < assignment.partitionCount; p++) {
    for (let count = assignment.countOf(p); count < replication; count++) {
      const choice = choose(assignment, p, preference, isNewcomer, target);
      if (choice >= 0) assignment.add(p, choice);
      else if (!assignment.augment(p, false) && !assignment.augment(p, true)) break;
    }
  }
}

/**
 * The shard for one more replica, in ring order: a newcomer (what has to move anyway goes to whom more would have to
 * move), else one below its target, else one below its bound. -1 = none. Targets before bounds keep the slack for later
 * changes: were all shards but one at their bound, a newcomer could not take all that has to go.
 */
function choose(
  assignment: Assignment,
  partition: number,
  preference: Preferences,
  isNewcomer: ReadonlySet<number>,
  target: Int32Array,
): number {
  let belowTarget = -1;
  let belowBound = -1;
  for (let rank = 0; rank < preference.shardCount; rank++) {
    const shard = preference.shardAt(partition, rank);
    if (!assignment.hasRoom(shard) || !assignment.isOpen(partition, shard)) continue;
    if (isNewcomer.has(shard)) return shard;
    if (belowBound < 0) belowBound = shard;
    if (belowTarget >= 0 || (assignment.load[shard] as number) >= (target[shard] as number)) continue;
    if (isNewcomer.size === 0) return shard;
    belowTarget = shard;
  }
  return belowTarget >= 0 ? belowTarget : belowBound;
}

/** Moves partitions to a shard that joined until it has its share, each time from the fullest, never below its share. */
function takeShare(assignment: Assignment, newcomer: number, { share }: Quotas, preference: Preferences): void {
  const wanted = Math.floor((share[newcomer] as number) + 1e-9);
  if ((assignment.load[newcomer] as number) >= wanted) return;
  const excess = (shard: number) => (assignment.load[shard] as number) / (share[shard] as number);
  const donors = new Set([...assignment.load.keys()].filter((shard) => shard !== newcomer && excess(shard) > 1));
  /** Sorted only for those whose turn comes. */
  const offers = new Map<number, number[]>();
  while ((assignment.load[newcomer] as number) < wanted) {
    let fullest = -1;
    for (const donor of donors) if (fullest < 0 || excess(donor) > excess(fullest)) fullest = donor;
    if (fullest < 0 || excess(fullest) <= 1) return;
    const offered = offers.get(fullest) ?? offersOf(assignment, fullest, newcomer, preference);
    offers.set(fullest, offered);
    const partition = offered.pop();
    if (partition === undefined) {
      donors.delete(fullest);
      continue;
    }
    if (!assignment.canMove(partition, fullest, newcomer)) continue; // another replica of it went there before
    assignment.remove(partition, fullest);
    assignment.add(partition, newcomer);
  }
}

/** What `donor` holds, the partitions that prefer the newcomer most over the donor last. */
function offersOf(assignment: Assignment, donor: number, newcomer: number, preference: Preferences): number[] {
  const offers: { readonly partition: number; readonly gain: number }[] = [];
  for (let p = 0; p < assignment.partitionCount; p++) {
    if (!assignment.canMove(p, donor, newcomer)) continue;
    offers.push({ partition: p, gain: preference.rankOf(p, donor) - preference.rankOf(p, newcomer) });
  }
  offers.sort((a, b) => a.gain - b.gain || b.partition - a.partition);
  return offers.map((offer) => offer.partition);
}

function toMap(
  assignment: Assignment,
  sorted: readonly PlacementShard[],
  preference: Preferences,
  partitionCount: number,
  replication: number,
  options: PlaceOptions,
): PartitionMap {
  const named = sorted.map((_, i) => i).filter((i) => (assignment.load[i] as number) > 0);
  const indexOf = new Map(named.map((shard, i) => [shard, i]));
  const replicas = new Uint16Array(partitionCount * replication);
  for (let p = 0; p < partitionCount; p++) {
    const row = assignment.shardsOf(p).sort((a, b) => preference.rankOf(p, a) - preference.rankOf(p, b));
    invariant(row.length === replication, `partition ${p} has ${row.length} of ${replication} replicas`);
    for (const [i, shard] of row.entries()) replicas[p * replication + i] = indexOf.get(shard) as number;
  }
  return {
    generation: options.generation ?? 0,
    model: options.model,
    version: options.version,
    epoch: options.epoch ?? 0,
    partitionCount,
    replication,
    shards: named.map((i) => (sorted[i] as PlacementShard).id),
    replicas,
  };
}
