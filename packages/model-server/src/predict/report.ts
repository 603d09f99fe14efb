import type { RowsReport, ServableId, TableRows } from "@shardserve/servable";
import type { RequestExplanation } from "./explanation.js";

/** Clients bound all headers together, some to 8 KiB: tables that have no room are not named. */
const BY_TABLE_BYTES_MAX = 2048;

/** Entries by report: the requests of a joined run have the same one. */
const known = new WeakMap<RowsReport, readonly Entry[]>();

type Entry = readonly [name: string, value: string];

/** What the trailers or headers of an answer tell of it: which version gave it, where its rows came from. */
export function answerEntries(
  by: ServableId | undefined,
  report: RowsReport | undefined,
  explanation?: RequestExplanation,
): readonly Entry[] {
  const entries: Entry[] = by ? [["x-shardserve-model-version", String(by.version)]] : [];
  if (by && explanation) entries.push(["x-shardserve-explanation", explanation.text(by)]);
  return report ? [...entries, ...reportEntries(report)] : entries;
}

/** Where the rows of an answer came from, by trailer or header name; a joined run's rows count for all its requests. */
function reportEntries(report: RowsReport): readonly Entry[] {
  const before = known.get(report);
  if (before) return before;
  const { tables } = report;
  const degraded = tables.filter((rows) => degradedRows(rows) > 0);
  const entries: Entry[] = [
    ["x-shardserve-rows-cache", String(report.cacheRows)],
    ["x-shardserve-rows-shard", String(report.shardRows)],
    ["x-shardserve-rows-redis", String(report.redisRows)],
    ["x-shardserve-rows-stale", String(report.staleRows)],
    ["x-shardserve-rows-default", String(report.defaultRows)],
    ["x-shardserve-epoch", String(report.epoch)],
  ];
  if (tables.length > 0) entries.push(["x-shardserve-table-rows", byTable(tables, countsText)]);
  if (degraded.length > 0) {
    entries.push(["x-shardserve-degraded-tables", byTable(degraded, (rows) => String(degradedRows(rows)))]);
  }
  known.set(report, entries);
  return entries;
}

/** "user=10,item=3", names percent-encoded; ",+7" at the end: seven more tables have no room. */
function byTable(tables: readonly TableRows[], textOf: (rows: TableRows) => string): string {
  let text = "";
  for (const [i, rows] of tables.entries()) {
    const next = `${i > 0 ? "," : ""}${encodeURIComponent(rows.table)}=${textOf(rows)}`;
    if (text.length + next.length > BY_TABLE_BYTES_MAX) return `${text}${i > 0 ? "," : ""}+${tables.length - i}`;
    text += next;
  }
  return text;
}

/** Rows from cache, shard, Redis, stale and default ones: "9/2/0/0/0". */
function countsText({ cacheRows, shardRows, redisRows, staleRows, defaultRows }: TableRows): string {
  return `${cacheRows}/${shardRows}/${redisRows}/${staleRows}/${defaultRows}`;
}

function degradedRows({ staleRows, defaultRows }: TableRows): number {
  return staleRows + defaultRows;
}
