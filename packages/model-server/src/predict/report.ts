import type { RowsReport } from "@shardserve/servable";

/** Where the rows of an answer came from, by trailer or header name; a joined run's rows count for all its requests. */
export function reportEntries(report: RowsReport): [name: string, value: string][] {
  return [
    ["x-shardserve-rows-cache", String(report.cacheRows)],
    ["x-shardserve-rows-shard", String(report.shardRows)],
    ["x-shardserve-rows-redis", String(report.redisRows)],
    ["x-shardserve-rows-stale", String(report.staleRows)],
    ["x-shardserve-rows-default", String(report.defaultRows)],
    ["x-shardserve-epoch", String(report.epoch)],
  ];
}
