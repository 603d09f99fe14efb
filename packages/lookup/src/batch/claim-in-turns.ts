import { setImmediate as nextTurn } from "node:timers/promises";
import type { LookupBatch } from "./batch.js";
import type { FillBoard } from "../cache/fill-board.js";

/** Ids claimed in one turn of the event loop: some 2 ms where most are missing from a large cache. */
export const IDS_PER_TURN = 8192;

/** What becomes of a claim: the fills that the batch waits for, or that it was taken back and must be made anew. */
export type Claimed = { readonly others: Promise<boolean> } | { readonly takenBack: "no room" | "new era" };

/**
 * Claims a large batch, which is on the board from the first id on: others that find its rows wait for it. So where it cannot
 * go on, it is taken back as a whole, and they look again for themselves.
 *
 * @param isCurrent  whether the cache is still that of the batch's epoch
 * @param check      throws when nobody waits for the batch any more
 */
export async function claimInTurns(
  batch: LookupBatch,
  board: FillBoard,
  isCurrent: () => boolean,
  check: () => void,
): Promise<Claimed> {
  const waits: Promise<boolean>[] = [];
  let isKept = false;
  board.begin(batch.id);
  try {
    for (;;) {
      const progress = batch.claim(IDS_PER_TURN);
      if (progress === "no room") return { takenBack: progress };
      waits.push(board.whenAllFilled(batch.takeWaits()));
      if (progress === "done") break;
      await nextTurn();
      check();
      if (!isCurrent()) return { takenBack: "new era" };
    }
    isKept = true;
  } finally {
    if (!isKept) {
      batch.abandon();
      board.end(batch.id, false);
    }
  }
  return { others: Promise.all(waits).then((filled) => filled.every(Boolean)) };
}
