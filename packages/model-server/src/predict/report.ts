import type { RowsReport, ServableId } from "@shardserve/servable";

/** Headers have limits: of more tables only these many are named. */
const NAMED_TABLES_MAX = 50;

/** What the trailers or headers of an answer tell of it: which version gave it, where its rows came from. */
export function answerEntries(
  by: ServableId | undefined,
  report: RowsReport | undefined,
): [name: string, value: string][] {
  const entries: [string, string][] = by ? [["x-shardserve-model-version", String(by.version)]] : [];
  return report ? [...entries, ...reportEntries(report)] : entries;
}

/** Where the rows of an answer came from, by trailer or header name; a joined run's rows count for all its requests. */
function reportEntries(report: RowsReport): [name: string, value: string][] {
  const degraded = [...(report.degradedTables ?? [])]
    .slice(0, NAMED_TABLES_MAX)
    .map(([table, rows]) => `${encodeURIComponent(table)}=${rows}`);
  return [
    ...(degraded.length > 0 ? [["x-shardserve-degraded-tables", degraded.join(",")] as [string, string]] : []),
    ["x-shardserve-rows-cache", String(report.cacheRows)],
    ["x-shardserve-rows-shard", String(report.shardRows)],
    ["x-shardserve-rows-redis", String(report.redisRows)],
    ["x-shardserve-rows-stale", String(report.staleRows)],
    ["x-shardserve-rows-default", String(report.defaultRows)],
    ["x-shardserve-epoch", String(report.epoch)],
  ];
}

/** The rows of several runs that answered one request. */
export function totalReport(reports: readonly (RowsReport | undefined)[]): RowsReport | undefined {
  return reports.reduce((sum, report) => {
    if (!sum || !report) return sum ?? report;
    return {
      cacheRows: sum.cacheRows + report.cacheRows,
      shardRows: sum.shardRows + report.shardRows,
      redisRows: sum.redisRows + report.redisRows,
      staleRows: sum.staleRows + report.staleRows,
      defaultRows: sum.defaultRows + report.defaultRows,
      epoch: report.epoch,
      ...((sum.degradedTables ?? report.degradedTables) && {
        degradedTables: totalByTable(sum.degradedTables, report.degradedTables),
      }),
    };
  }, undefined);
}

function totalByTable(...parts: readonly (ReadonlyMap<string, number> | undefined)[]): ReadonlyMap<string, number> {
  const total = new Map<string, number>();
  for (const part of parts) for (const [table, rows] of part ?? []) total.set(table, (total.get(table) ?? 0) + rows);
  return total;
}
