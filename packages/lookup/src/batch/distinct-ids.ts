import type { IdLanes } from "./id-lanes.js";
import { hashLanes } from "../cache/hash-lanes.js";

/**
 * Distinct ids of one table in one batch, for a run whose rows do not go through the slab: each id gets the position of its
 * first appearance among the distinct ones. Takes the ids in as many steps as the caller likes.
 */
export class DistinctIds {
  /** First `count` are valid; order of first appearance. */
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly #ids: IdLanes;
  readonly #positions: Int32Array;
  readonly #mask: number;
  readonly #index: Int32Array;
  #count = 0;
  #takenCount = 0;

  /** @param positions  out: per id, its index into the distinct ids */
  constructor(ids: IdLanes, positions: Int32Array) {
    this.lo = new Int32Array(ids.count);
    this.hi = new Int32Array(ids.count);
    this.#ids = ids;
    this.#positions = positions;
    this.#mask = 2 ** Math.ceil(Math.log2(Math.max(2, ids.count * 2))) - 1;
    this.#index = new Int32Array(this.#mask + 1);
  }

  get count(): number {
    return this.#count;
  }

  /** Ids that were not taken in yet. */
  get leftCount(): number {
    return this.#ids.count - this.#takenCount;
  }

  /** Takes the next ids in. */
  take(idCount: number): void {
    const { lanes, stride } = this.#ids;
    const [lo, hi, index, positions, mask] = [this.lo, this.hi, this.#index, this.#positions, this.#mask];
    const end = this.#takenCount + idCount;
    let count = this.#count;
    for (let i = this.#takenCount; i < end; i++) {
      const idLo = lanes[i * stride]!;
      const idHi = stride === 2 ? lanes[i * 2 + 1]! : 0;
      let at = hashLanes(idLo, idHi) & mask;
      let entry = index[at]!;
      while (entry !== 0 && (lo[entry - 1] !== idLo || hi[entry - 1] !== idHi)) {
        at = (at + 1) & mask;
        entry = index[at]!;
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
    this.#count = count;
    this.#takenCount = end;
  }
}
