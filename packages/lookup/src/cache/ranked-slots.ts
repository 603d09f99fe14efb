/** Walks over all slots of a cache by how often their rows were asked for, letting other work go on in between. */
import { setImmediate as nextTurn } from "node:timers/promises";

/** Ranks are bytes. */
const RANKS = 256;
/** Slots that are looked at in one turn of the event loop: about 2 ms. */
const SLOTS_PER_TURN = 100_000;

/** The slots of a cache. Rows come and go while they are walked over. */
export interface RankedSlots {
  /** Slots that were ever used: those below it. */
  readonly usedCount: () => number;
  /** How often the row of a slot was asked for, 0 to 255; -1 = there is none. */
  readonly rank: (slot: number) => number;
}

export interface HottestOptions {
  /** Rows at most. */
  readonly limit: number;
  /** Rows that were asked for less often are left out. */
  readonly countMin: number;
  /** Slots that are looked at in one turn of the event loop where each is taken. */
  readonly slotsPerTurn?: number;
}

/** Calls back with the slots of the rows that are asked for most: all of a rank or none, `limit` at most, in no order. */
export async function eachHottest(
  slots: RankedSlots,
  { limit, countMin, slotsPerTurn = SLOTS_PER_TURN }: HottestOptions,
  take: (slot: number) => void,
): Promise<void> {
  const counts = await countRanks(slots, () => true);
  let least = RANKS;
  let total = 0;
  while (least > countMin && total + counts[least - 1]! <= limit) total += counts[--least]!;
  await inTurns(slots, slotsPerTurn, (slot) => {
    if (slots.rank(slot) >= least) take(slot);
  });
}

/** @returns how many of the slots that `isMeant` have each rank, shape [256]; those without a row are left out */
export async function countRanks(slots: RankedSlots, isMeant: (slot: number) => boolean): Promise<Int32Array> {
  const counts = new Int32Array(RANKS);
  await inTurns(slots, SLOTS_PER_TURN, (slot) => {
    const rank = slots.rank(slot);
    if (rank >= 0 && isMeant(slot)) counts[rank] = counts[rank]! + 1;
  });
  return counts;
}

/** @returns how often each row of the least asked-for quarter was asked for, on average */
export function leastQuarterMean(counts: Int32Array): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const quarter = Math.max(1, total / 4);
  let seen = 0;
  let sum = 0;
  for (let rank = 0; rank < RANKS && seen < quarter; rank++) {
    const taken = Math.min(counts[rank]!, quarter - seen);
    seen += taken;
    sum += taken * rank;
  }
  return sum / quarter;
}

async function inTurns(slots: RankedSlots, slotsPerTurn: number, look: (slot: number) => void): Promise<void> {
  for (let start = 0; start < slots.usedCount(); start += slotsPerTurn) {
    const end = Math.min(slots.usedCount(), start + slotsPerTurn);
    for (let slot = start; slot < end; slot++) look(slot);
    await nextTurn();
  }
}
