import { hashLanes } from "./row-cache.js";

/** Distinct ids of one table in one batch. */
export interface DistinctIds {
  /** First `count` are valid; order of first appearance. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly count: number;
}

/**
 * Removes duplicates for a run whose rows do not go through the slab: each id gets the position of its first appearance
 * among the distinct ones.
 *
 * @param lanes      ids as 32-bit lanes; `stride` 2: (lo, hi) pairs, 1: lo alone and hi 0
 * @param positions  out: per id, its index into the distinct ids
 */
export function dedupIds(lanes: Int32Array, stride: 1 | 2, idCount: number, positions: Int32Array): DistinctIds {
  const lo = new Int32Array(idCount);
  const hi = new Int32Array(idCount);
  const mask = 2 ** Math.ceil(Math.log2(Math.max(2, idCount * 2))) - 1;
  const index = new Int32Array(mask + 1);
  let count = 0;
  for (let i = 0; i < idCount; i++) {
    const idLo = lanes[i * stride] as number;
    const idHi = stride === 2 ? (lanes[i * 2 + 1] as number) : 0;
    let at = hashLanes(idLo, idHi) & mask;
    let entry = index[at] as number;
    while (entry !== 0 && (lo[entry - 1] !== idLo || hi[entry - 1] !== idHi)) {
      at = (at + 1) & mask;
      entry = index[at] as number;
    }
    if (entry === 0) {
      lo[count] = idLo;
      hi[count] = idHi;
      count += 1;
      entry = count;
      index[at] = entry;
    }
    positions[i] = entry - 1;
  }
  return { lo, hi, count };
}
