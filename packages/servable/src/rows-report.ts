import type { LookupExplanation } from "@shardserve/core";

/** Ids by where their rows came from. */
export interface RowCounts {
  readonly cacheRows: number;
  readonly shardRows: number;
  readonly redisRows: number;
  /** Rows of an older epoch than the version's, answered because the operator allows it. */
  readonly staleRows: number;
  /** Rows that could not be had and were answered as defaults, because the operator allows it. */
  readonly defaultRows: number;
}

/** Where the rows of one table came from in one run. */
export interface TableRows extends RowCounts {
  /** Checkpoint key. */
  readonly table: string;
}

/** Where the embedding rows of one run came from: totals, and each table that was asked for rows. */
export interface RowsReport extends RowCounts {
  /** Committed delta that the rows belong to, stale ones excepted; 0 = as exported. */
  readonly epoch: number;
  readonly tables: readonly TableRows[];
  /** How each lookup got its rows, where the run was asked to explain itself. */
  readonly lookups?: readonly LookupExplanation[];
}

/** The report of several runs that answered one request; undefined when none looked up rows. */
export function totalReport(reports: readonly (RowsReport | undefined)[]): RowsReport | undefined {
  const present = reports.filter((report) => report !== undefined);
  if (present.length <= 1) return present[0];
  const tables = new Map<string, TableRows>();
  for (const report of present) {
    for (const rows of report.tables) {
      const before = tables.get(rows.table);
      tables.set(rows.table, before ? { table: rows.table, ...sumOf([before, rows]) } : rows);
    }
  }
  const epoch = Math.max(...present.map((report) => report.epoch));
  const lookups = present.flatMap((report) => report.lookups ?? []);
  return { ...sumOf(present), epoch, tables: [...tables.values()], ...(lookups.length > 0 && { lookups }) };
}

/** Adds counts up. */
export function sumOf(counts: readonly RowCounts[]): RowCounts {
  const sum = { cacheRows: 0, shardRows: 0, redisRows: 0, staleRows: 0, defaultRows: 0 };
  for (const each of counts) {
    sum.cacheRows += each.cacheRows;
    sum.shardRows += each.shardRows;
    sum.redisRows += each.redisRows;
    sum.staleRows += each.staleRows;
    sum.defaultRows += each.defaultRows;
  }
  return sum;
}
