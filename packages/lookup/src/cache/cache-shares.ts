/** One table's part of the cache, and what more of it would be worth. */
export interface CachePart {
  readonly slots: number;
  /** Slots of it that hold no row. */
  readonly unusedSlots: number;
  /** Rows of the table: more slots are of no use. */
  readonly slotsMax: number;
  /** What a slot costs: its row and what the cache keeps of it. */
  readonly slotBytes: number;
  /** Lookups that one slot more would have turned from misses into hits, over a time that is the same for all tables. */
  readonly marginalHits: number;
}

/** A slot must be worth so many times another one of the same bytes to take its place: estimates are not better than that. */
const WORTH_MOVING = 2;
/** A table gives and takes at most this part of what it has in one step. */
const STEP = 0.25;
/** A table keeps this part of an even share, however little it is asked for: demand comes back. */
const KEPT = 0.1;

/**
 * One step towards the division under which a byte is worth the same in every table: those where it is worth most take from
 * those where it is worth least. Bounded, so that a wrong estimate costs little and is put right by the next step. Pure.
 *
 * @param freeBytes  what earlier steps left over; it goes along with the next one
 * @returns slots per table, of no more bytes than before and `freeBytes`; undefined = nothing is worth moving
 */
export function shiftShares(parts: readonly CachePart[], freeBytes = 0): number[] | undefined {
  const worth = (i: number) => parts[i]!.marginalHits / parts[i]!.slotBytes;
  const bytesOf = (i: number) => parts[i]!.slots * parts[i]!.slotBytes;
  const cached = parts.flatMap(({ slots }, i) => (slots > 0 ? [i] : [])).sort((a, b) => worth(a) - worth(b));
  const evenBytes = cached.reduce((sum, i) => sum + bytesOf(i), 0) / Math.max(1, cached.length);
  const slots = parts.map((part) => part.slots);
  let leftBytes = freeBytes;
  let hasMoved = false;
  for (let low = 0, high = cached.length - 1; low < high; ) {
    const giver = cached[low]!;
    const taker = cached[high]!;
    const { slotsMax, slots: had, slotBytes } = parts[taker]!;
    const roomBytes = Math.min((slotsMax - had) * slotBytes, STEP * bytesOf(taker));
    const { slotBytes: givenBytes, unusedSlots } = parts[giver]!;
    const spareBytes = Math.min(
      bytesOf(giver) - KEPT * evenBytes,
      STEP * bytesOf(giver),
      unusedSlots > 0 ? (unusedSlots / 2) * givenBytes : Number.POSITIVE_INFINITY, // what it has is worth more than what it has not
    );
    if (roomBytes < slotBytes) high--;
    else if (spareBytes < givenBytes) low++;
    else {
      if (worth(taker) <= WORTH_MOVING * worth(giver)) break;
      const given = Math.floor(Math.min(roomBytes, spareBytes) / givenBytes);
      const taken = Math.floor(Math.min(roomBytes, given * givenBytes + leftBytes) / slotBytes);
      if (taken > 0) {
        leftBytes += given * givenBytes - taken * slotBytes;
        slots[giver] = slots[giver]! - given;
        slots[taker] = had + taken;
        hasMoved = true;
      }
      low++;
      high--;
    }
  }
  return hasMoved ? slots : undefined;
}
