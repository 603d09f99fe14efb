import { emptyRowReport, type RowReport, type TableInfo } from "@shardserve/rowstore";
import type { LookupBatch } from "../batch/batch.js";
import { ROW_ORIGINS } from "./row-origins.js";

/** Where distinct rows were found, as the metrics name it. */
export const ROW_SOURCES = ["cache", "shard", ...ROW_ORIGINS] as const;

export type RowsBySource = Readonly<Record<(typeof ROW_SOURCES)[number], number>>;

/** Counts where a complete batch's ids got their rows, by table, and its distinct rows over all tables. */
export function reportRows(
  batch: LookupBatch,
  tables: readonly TableInfo[],
): { readonly report: RowReport; readonly rows: RowsBySource } {
  const report = emptyRowReport(tables, batch.epoch);
  const { cacheRows, shardRows } = report;
  const rows = { cache: 0, shard: 0, redis: 0, stale: 0, default: 0 };
  for (const { table, slots, cachedCount, foundCount, start, end } of batch.parts) {
    cacheRows[table] = cacheRows[table]! + cachedCount;
    shardRows[table] = shardRows[table]! + slots.length - cachedCount;
    rows.cache += foundCount;
    rows.shard += end - start;
  }
  if (batch.origins.isEmpty) return { report, rows };
  const counts = { redis: report.redisRows, stale: report.staleRows, default: report.defaultRows };
  batch.parts.forEach(({ table, slots }, section) => {
    for (const origin of ROW_ORIGINS) {
      const came = batch.origins.count(origin, section, slots);
      counts[origin][table] = counts[origin][table]! + came.ids;
      shardRows[table] = shardRows[table]! - came.ids;
      rows[origin] += came.rows;
      rows.shard -= came.rows;
    }
  });
  return { report, rows };
}
