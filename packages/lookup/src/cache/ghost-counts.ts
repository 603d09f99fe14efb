import { adviseHugePages } from "@shardserve/native";

/** Entries of one bucket: 16 bytes, a quarter of a cache line. */
const WAYS = 4;

/** A count as it stands some eras later: halved in each. */
export function faded(count: number, era: number, now: number): number {
  const eras = (now - era) & 0xff;
  return eras > 7 ? 0 : count >>> eras;
}

/**
 * How often rows were asked for that are not in the cache, as far as is remembered: a set-associative table of
 * (fingerprint, era, count) words. Of a full bucket the entry with the lowest count goes. Two rows with one bucket and one
 * fingerprint are taken for each other, which one in ten thousand is.
 */
export class GhostCounts {
  readonly #words: Int32Array;
  readonly #mask: number;
  #turn = 0;

  /** @param entries  rows to remember, about */
  constructor(entries: number) {
    const buckets = 2 ** Math.max(0, Math.round(Math.log2(entries / WAYS)));
    this.#words = new Int32Array(buckets * WAYS);
    adviseHugePages(this.#words);
    this.#mask = buckets - 1;
  }

  /** Reads a word of the row's bucket, so that it is near when it is needed. */
  touch(hash: number): number {
    return this.#words[(hash & this.#mask) * WAYS]!;
  }

  /** Takes the count of a row out; 0 when it is not remembered. */
  take(hash: number, era: number): number {
    const words = this.#words;
    const start = (hash & this.#mask) * WAYS;
    const print = fingerprint(hash);
    for (let at = start; at < start + WAYS; at++) {
      const word = words[at]!;
      if (word >>> 16 !== print || word === 0) continue;
      words[at] = 0;
      return faded(word & 0xff, (word >>> 8) & 0xff, era);
    }
    return 0;
  }

  /** Remembers a row with its count, unless its bucket is full of rows asked for more often. */
  put(hash: number, count: number, era: number): void {
    const words = this.#words;
    const start = (hash & this.#mask) * WAYS;
    this.#turn = (this.#turn + 1) & (WAYS - 1); // among equals they take turns
    let chosen = -1;
    let lowest = count + 1;
    for (let i = 0; i < WAYS; i++) {
      const at = start + ((i + this.#turn) & (WAYS - 1));
      const word = words[at]!;
      const own = word === 0 ? -1 : faded(word & 0xff, (word >>> 8) & 0xff, era);
      if (own >= lowest) continue;
      lowest = own;
      chosen = at;
    }
    if (chosen >= 0) words[chosen] = (fingerprint(hash) << 16) | ((era & 0xff) << 8) | count;
  }
}

/** 16 bits of the hash that do not lie in the bucket's number alone; never 0, so that no entry is. */
function fingerprint(hash: number): number {
  return (Math.imul(hash, 0x9e3779b1) >>> 16) | 1;
}
