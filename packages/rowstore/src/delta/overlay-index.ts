import { invariant } from "@shardserve/core";
import { hashOfPosition } from "./position-hash.js";

/** Index arrays are at most this full; a power of two above. */
const LOAD_MAX = 0.7;

/** Rows of one epoch in one table of one partition, behind one another in the arena. */
export interface OverlayRun {
  readonly epoch: number;
  /** Arena row of the run's first entry. */
  readonly firstRow: number;
  /** Entries of the run. */
  readonly firstEntry: number;
  readonly entryCount: number;
}

/**
 * Which row of the overlay stands for a position of one table in one partition, by epoch: open addressing over positions,
 * all in typed arrays. An entry belongs to a run, which says its epoch and its row, and points at the entry that it
 * supersedes; a lookup finds the newest entry and walks back to its epoch, so its cost does not grow with the number of deltas.
 */
export class OverlayIndex {
  #runs: OverlayRun[] = [];
  #count = 0;
  #distinct = 0;
  /** Entry + 1, by hash of its position; 0 = free. Names the newest entry of each position. */
  #heads = new Int32Array(16);
  #positions = new Uint32Array(0);
  /** The entry that this one supersedes; -1 = none, the file's row. */
  #previous = new Int32Array(0);

  /** Entries, superseded ones included: rows of memory. */
  get entryCount(): number {
    return this.#count;
  }

  get runs(): readonly OverlayRun[] {
    return this.#runs;
  }

  /** Bytes of the index itself. */
  get indexBytes(): number {
    return this.#heads.byteLength + this.#positions.byteLength + this.#previous.byteLength;
  }

  /** The arena row of a position at an epoch; -1 = that of the file. */
  find(position: number, epoch: number): number {
    const heads = this.#heads;
    const mask = heads.length - 1;
    for (let at = hashOfPosition(position) & mask; ; at = (at + 1) & mask) {
      const head = heads[at]!;
      if (head === 0) return -1;
      if (this.#positions[head - 1] === position) return this.#rowOf(head - 1, epoch);
    }
  }

  /**
   * Adds the rows of one epoch, later than all that are there.
   *
   * @param positions  ascending
   * @param firstRow   arena row of the first; the others lie behind it
   */
  add(epoch: number, positions: Uint32Array, firstRow: number): void {
    this.begin(epoch, positions.length, firstRow);
    this.extend(positions);
  }

  /**
   * Makes room for the rows of one epoch, later than all that are there. They come by {@link extend}, in pieces if they are
   * many, and until all have come nobody asks for the epoch.
   */
  begin(epoch: number, rowCount: number, firstRow: number): void {
    invariant(epoch > (this.#runs.at(-1)?.epoch ?? 0), `epoch ${epoch} is not the newest`);
    this.#reserve(this.#count + rowCount);
    this.#runs.push({ epoch, firstRow, firstEntry: this.#count, entryCount: rowCount });
  }

  /** The next positions of the newest epoch, ascending. */
  extend(positions: Uint32Array): void {
    for (let i = 0; i < positions.length; i++) this.#insert(this.#count + i, positions[i]!);
    this.#count += positions.length;
  }

  /** Takes back the newest run if it is of this epoch: what it superseded is found again. */
  dropNewest(epoch: number): void {
    const run = this.#runs.at(-1);
    if (run?.epoch !== epoch) return;
    for (let entry = run.firstEntry; entry < this.#count; entry++) {
      const previous = this.#previous[entry]!;
      const at = this.#slotOf(this.#positions[entry]!);
      if (previous >= 0) this.#heads[at] = previous + 1;
      else this.#remove(at);
    }
    this.#count = run.firstEntry;
    this.#runs.pop();
  }

  /** The positions of a run, ascending. */
  positionsOf({ firstEntry, entryCount }: OverlayRun): Uint32Array {
    return this.#positions.slice(firstEntry, firstEntry + entryCount);
  }

  #rowOf(head: number, epoch: number): number {
    const runs = this.#runs;
    for (let entry = head, run = runs.length - 1; entry >= 0; entry = this.#previous[entry]!) {
      while (runs[run]!.firstEntry > entry) run--;
      const { epoch: of, firstRow, firstEntry } = runs[run]!;
      if (of <= epoch) return firstRow + (entry - firstEntry);
    }
    return -1;
  }

  #insert(entry: number, position: number): void {
    const heads = this.#heads;
    const mask = heads.length - 1;
    this.#positions[entry] = position;
    let at = hashOfPosition(position) & mask;
    for (; heads[at] !== 0; at = (at + 1) & mask) {
      const head = heads[at]!;
      if (this.#positions[head - 1] !== position) continue;
      this.#previous[entry] = head - 1;
      heads[at] = entry + 1;
      return;
    }
    this.#previous[entry] = -1;
    heads[at] = entry + 1;
    this.#distinct++;
  }

  #slotOf(position: number): number {
    const mask = this.#heads.length - 1;
    let at = hashOfPosition(position) & mask;
    while (this.#positions[this.#heads[at]! - 1] !== position) at = (at + 1) & mask;
    return at;
  }

  /** Moves later entries of the probe run back (Knuth 6.4, algorithm R). */
  #remove(slot: number): void {
    const heads = this.#heads;
    const mask = heads.length - 1;
    let hole = slot;
    for (let at = (hole + 1) & mask; heads[at] !== 0; at = (at + 1) & mask) {
      const home = hashOfPosition(this.#positions[heads[at]! - 1]!) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      heads[hole] = heads[at]!;
      hole = at;
    }
    heads[hole] = 0;
    this.#distinct--;
  }

  #reserve(entries: number): void {
    if (entries > this.#positions.length) {
      const capacity = this.#count === 0 ? entries : Math.max(entries, Math.ceil(this.#count * 1.25));
      const positions = new Uint32Array(capacity);
      positions.set(this.#positions.subarray(0, this.#count));
      const previous = new Int32Array(capacity);
      previous.set(this.#previous.subarray(0, this.#count));
      this.#positions = positions;
      this.#previous = previous;
    }
    const needed = this.#distinct + entries - this.#count;
    if (needed <= this.#heads.length * LOAD_MAX) return;
    const old = this.#heads;
    const heads = new Int32Array(2 ** Math.ceil(Math.log2(needed / LOAD_MAX)));
    const mask = heads.length - 1;
    for (const head of old) {
      if (head === 0) continue;
      let at = hashOfPosition(this.#positions[head - 1]!) & mask;
      while (heads[at] !== 0) at = (at + 1) & mask;
      heads[at] = head;
    }
    this.#heads = heads;
  }
}
