import { seededRandom } from "@shardserve/core";
import { type IdSource, uniformIds, zipfIds } from "../load/ids.js";
import { TABLES } from "./lookup-version.js";

/** Distinct batches that a measurement goes through: more than CPU caches or the row cache hold, so that most rows are fetched. */
const BATCHES = 1024;
const REDIS_KEYS_PER_CALL = 1024;

export type Distribution = "uniform" | "zipf 0.9";

/** One batch of ids, in the form that each contestant takes. */
export interface Batch {
  /** Per table as many ids as fit. */
  readonly requests: readonly { readonly table: number; readonly ids: BigInt64Array }[];
  /** Per table its index, and how many ids. */
  readonly tables: readonly number[];
  readonly counts: readonly number[];
  /** The ids of all tables behind one another, as pairs of 32-bit lanes. */
  readonly lanes: Int32Array;
  readonly redisKeys: readonly Buffer[][];
}

/** The same batches for the same arguments. */
export function drawBatches(batchIds: number, rowsPerTable: number, distribution: Distribution): Batch[] {
  const random = seededRandom(batchIds);
  const source: IdSource =
    distribution === "uniform" ? uniformIds(rowsPerTable, random) : zipfIds(rowsPerTable, 0.9, random);
  const perTable = Math.max(1, Math.floor(batchIds / TABLES));
  const count = Math.max(4, Math.min(BATCHES, Math.floor(400_000 / batchIds)));
  return Array.from({ length: count }, () => {
    const requests = Array.from({ length: TABLES }, (_, table) => ({
      table,
      ids: BigInt64Array.from({ length: perTable }, () => BigInt(source())),
    }));
    const keys = requests.flatMap(({ table, ids }) => Array.from(ids, (id) => redisKey(table, Number(id))));
    const redisKeys: Buffer[][] = [];
    for (let i = 0; i < keys.length; i += REDIS_KEYS_PER_CALL) redisKeys.push(keys.slice(i, i + REDIS_KEYS_PER_CALL));
    const lanes = new Int32Array(perTable * TABLES * 2);
    requests.forEach(({ ids }, table) => lanes.set(new Int32Array(ids.buffer), table * perTable * 2));
    const tables = requests.map(({ table }) => table);
    const counts = requests.map(({ ids }) => ids.length);
    return { requests, tables, counts, lanes, redisKeys };
  });
}

export function redisKey(table: number, id: number): Buffer {
  const key = Buffer.alloc(9);
  key.writeUInt8(table, 0);
  key.writeBigUInt64LE(BigInt(id), 1);
  return key;
}
