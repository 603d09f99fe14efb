import type { RowLease } from "@shardserve/rowstore";
import type { RowsReport } from "@shardserve/servable";

/** Totals over the lookups of one run; undefined when there were none. */
export function rowsReport(leases: readonly RowLease[]): RowsReport | undefined {
  if (leases.length === 0) return undefined;
  const total = { cacheRows: 0, shardRows: 0, redisRows: 0, staleRows: 0, defaultRows: 0, epoch: 0 };
  let degradedTables: Map<string, number> | undefined;
  for (const { report } of leases) {
    total.cacheRows += sum(report.cacheRows);
    total.shardRows += sum(report.shardRows);
    total.redisRows += sum(report.redisRows);
    total.staleRows += sum(report.staleRows);
    total.defaultRows += sum(report.defaultRows);
    total.epoch = Math.max(total.epoch, report.epoch);
    for (const [table, rows] of report.degradedTables ?? []) {
      degradedTables ??= new Map();
      degradedTables.set(table, (degradedTables.get(table) ?? 0) + rows);
    }
  }
  return degradedTables ? { ...total, degradedTables } : total;
}

function sum(counts: Uint32Array): number {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i]!;
  return total;
}
