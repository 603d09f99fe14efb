import type { RowSource } from "@shardserve/rowstore";
import { idLanes } from "./id-lanes.js";

/** Ids of rows that are asked for often, by the table's checkpoint key. */
export type HotRows = ReadonlyMap<string, BigInt64Array>;

/** Ids of one lookup: enough to keep shards busy, few enough not to hold up others. */
const IDS_PER_LOOKUP = 4096;

/**
 * Looks hot rows up, so that they are cached before anybody asks. Tables that are not there, and ids that a table has no
 * longer, are left out.
 *
 * @returns ids looked up; fewer than there are when the deadline came first
 * @throws ServingError as {@link RowSource.lookup}; the signal's reason
 */
export async function warmUp(
  rows: RowSource,
  hot: HotRows,
  options: { readonly deadlineMs: number; readonly signal: AbortSignal; readonly nowMs: () => number },
): Promise<number> {
  const { deadlineMs, signal, nowMs } = options;
  let count = 0;
  for (const [table, info] of rows.tables.entries()) {
    const ids = within(hot.get(info.checkpointKey) ?? new BigInt64Array(0), info.rows);
    for (let at = 0; at < ids.length; at += IDS_PER_LOOKUP) {
      if (nowMs() >= deadlineMs) return count;
      const some = ids.subarray(at, at + IDS_PER_LOOKUP);
      (await rows.lookup([{ table, ids: some }], { signal })).release();
      count += some.length;
    }
  }
  return count;
}

function within(ids: BigInt64Array, rows: number): BigInt64Array {
  const { lanes } = idLanes(ids);
  const kept = new Int32Array(lanes.length);
  let at = 0;
  for (let i = 0; i < lanes.length; i += 2) {
    if ((lanes[i + 1] as number) * 2 ** 32 + ((lanes[i] as number) >>> 0) >= rows) continue;
    kept[at++] = lanes[i] as number;
    kept[at++] = lanes[i + 1] as number;
  }
  return new BigInt64Array(kept.buffer, 0, at / 2);
}
