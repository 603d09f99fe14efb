import type { RowSource } from "@shardserve/rowstore";
import { type HottestIds, idsWithin } from "./hot-rows-peer.js";

/** Ids of one lookup: enough to keep shards busy, few enough not to hold up others. */
const IDS_PER_LOOKUP = 4096;

/**
 * Looks hot rows up, so that they are cached before anybody asks. Ids that a table does not have are left out.
 *
 * @returns ids looked up; fewer than there are when the deadline came first
 * @throws ServingError as {@link RowSource.lookup}; what `hottest` throws; the signal's reason
 */
export async function warmUp(
  rows: RowSource,
  hottest: HottestIds,
  options: { readonly deadlineMs: number; readonly signal: AbortSignal; readonly nowMs: () => number },
): Promise<number> {
  const { deadlineMs, signal, nowMs } = options;
  let count = 0;
  for (const [table, info] of rows.tables.entries()) {
    if (nowMs() >= deadlineMs) return count;
    const ids = idsWithin(await hottest(info.checkpointKey), info.rows);
    for (let at = 0; at < ids.length; at += IDS_PER_LOOKUP) {
      if (nowMs() >= deadlineMs) return count;
      const some = ids.subarray(at, at + IDS_PER_LOOKUP);
      (await rows.lookup([{ table, ids: some }], { signal })).release();
      count += some.length;
    }
  }
  return count;
}
