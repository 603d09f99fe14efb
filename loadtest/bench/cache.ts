import { parseArgs } from "node:util";
import { seededRandom } from "@shardserve/core";
import { newClaim, RowCache } from "@shardserve/lookup";
import { zipfIds } from "../load/ids.js";
import { report } from "./machine.js";
import { median } from "./figures.js";

const EXPONENT = 0.9;
const BATCH_IDS = 2048;
/** Batches whose ids are drawn at once, outside the measured time. */
const ROUND_BATCHES = 64;

/**
 * Hit rate and cost of the row cache on Zipf-distributed ids, beside the best that any fixed choice of rows could reach
 * and beside a `Map` of as many entries. Cache and Map take turns with the same ids, 2048 a batch.
 */
export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: "string", default: "10000000" },
      shares: { type: "string", default: "0.01,0.05" },
      json: { type: "string" },
    },
  });
  const rowCount = Number(values.rows);
  const lines = values.shares.split(",").map((share) => line(rowCount, Number(share)));
  report("cache", lines, values.json);
  console.log(
    `Zipf ${EXPONENT} over ${rowCount} rows; ids scrambled. Hit rate of ids over the last third of the lookups. ns per id: the` +
      " median over rounds; cache = slots claimed and pinned, misses made room for, and released again; map = one Map.get." +
      " Reach: hit rate within 3 points of the optimum; cache under 150 ns.",
  );
}

function line(rowCount: number, share: number): Record<string, string | number> {
  const capacity = Math.floor(rowCount * share);
  const cache = new RowCache(capacity);
  const draw = zipfIds(rowCount, EXPONENT, seededRandom(capacity));
  const map = new Map<number, number>();
  const rounds = Math.ceil((Math.max(80 * capacity, 12_000_000) * 1.5) / (BATCH_IDS * ROUND_BATCHES) / 2);
  const runs = new Runs(cache);
  let hits = 0;
  let asked = 0;
  const mixedNs: number[] = [];
  const hitNs: number[] = [];
  const mapNs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const batches = Array.from({ length: ROUND_BATCHES }, () => Int32Array.from({ length: BATCH_IDS }, draw));
    const isMeasured = 3 * round >= 2 * rounds;
    const idCount = ROUND_BATCHES * BATCH_IDS;
    const ns = cpuNs(() => {
      for (const ids of batches) {
        const found = runs.run(ids);
        if (!isMeasured) continue;
        hits += found;
        asked += BATCH_IDS;
      }
    });
    for (const ids of batches) for (const id of ids) if (map.size < capacity) map.set(id, id);
    if (!isMeasured) continue;
    mixedNs.push(ns / idCount);
    const present = batches.map((ids) => ids.filter((id) => cache.peek(id, 0) >= 0));
    const presentCount = present.reduce((sum, ids) => sum + ids.length, 0);
    hitNs.push(cpuNs(() => present.forEach((ids) => runs.run(ids))) / presentCount);
    const known = batches.map((ids) => ids.filter((id) => map.has(id)));
    const knownCount = known.reduce((sum, ids) => sum + ids.length, 0);
    let sum = 0;
    mapNs.push(
      cpuNs(() => {
        for (const ids of known) for (let i = 0; i < ids.length; i++) sum += map.get(ids[i] as number) as number;
      }) / knownCount,
    );
    if (Number.isNaN(sum)) throw new Error("the Map lost an id");
  }
  const best = optimum(rowCount, capacity);
  const hitRate = hits / asked;
  return {
    slab: `${share * 100} %`,
    slots: capacity,
    "lookups, millions": Math.round((rounds * ROUND_BATCHES * BATCH_IDS) / 1e6),
    "hit rate": percent(hitRate),
    optimum: percent(best),
    "points below": percent(best - hitRate),
    "ns/hit": Math.round(median(hitNs)),
    "Map ns/hit": Math.round(median(mapNs)),
    "hit/Map": Math.round((100 * median(hitNs)) / median(mapNs)) / 100,
    "ns/id, misses too": Math.round(median(mixedNs)),
  };
}

/** Claims, completes and releases one batch after another. */
class Runs {
  readonly #cache: RowCache;
  readonly #claim = newClaim(0, BATCH_IDS);
  readonly #slots = new Int32Array(BATCH_IDS);
  #batch = 0;

  constructor(cache: RowCache) {
    this.#cache = cache;
  }

  /** @returns ids that were there */
  run(ids: Int32Array): number {
    const claim = Object.assign(this.#claim, { batch: ++this.#batch, pinnedCount: 0, missCount: 0 });
    const found = this.#cache.claim(ids, 1, ids.length, 0, this.#slots, claim);
    this.#cache.complete(claim.missSlots, 0, claim.missCount);
    this.#cache.release(claim.pinned, 0, claim.pinnedCount);
    return found;
  }
}

/** Processor time of this process: what neighbours take is not counted. */
function cpuNs(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) * 1000;
}

/** Share of lookups that the most popular rows get: what a cache that knew them would reach. */
function optimum(rowCount: number, capacity: number): number {
  let total = 0;
  let top = 0;
  for (let rank = 1; rank <= rowCount; rank++) {
    const weight = rank ** -EXPONENT;
    total += weight;
    if (rank <= capacity) top += weight;
  }
  return top / total;
}

function percent(share: number): number {
  return Math.round(share * 10_000) / 100;
}
