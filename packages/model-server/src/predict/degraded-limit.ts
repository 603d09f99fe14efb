import { ServingError } from "@shardserve/core";
import type { RowsReport } from "@shardserve/servable";

/**
 * Refuses an answer with more stale and default rows than its caller accepts. Rows of a joined run count for all its
 * requests: a caller with a limit may be refused for a neighbour's rows, never given more of its own than it accepts.
 *
 * @param limit  what the caller sent: a count of rows, "0", or a share of them, "0.5%"
 * @throws ServingError INVALID_ARGUMENT for another text; ROWS_DEGRADED
 */
export function checkDegradedLimit(limit: string | undefined, report: RowsReport | undefined): void {
  if (limit === undefined) return;
  const match = /^(\d{1,15}|\d{1,3}(?:\.\d{1,9})?(?=%))(%?)$/.exec(limit);
  if (!match) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `"${limit}" is no limit of degraded rows: give a count, or a share as 0.5%`,
    );
  }
  if (!report) return;
  const { cacheRows, shardRows, redisRows, staleRows, defaultRows } = report;
  const degraded = staleRows + defaultRows;
  const all = cacheRows + shardRows + redisRows + degraded;
  const allowed = match[2] === "%" ? (Number(match[1]) / 100) * all : Number(match[1]);
  if (degraded <= allowed) return;
  const tables = report.tables
    .filter((rows) => rows.staleRows + rows.defaultRows > 0)
    .map((rows) => `${rows.table}: ${rows.staleRows + rows.defaultRows}`);
  throw new ServingError(
    "ROWS_DEGRADED",
    `${degraded} of ${all} rows could only be stale or defaults (${tables.join(", ")}); the caller accepts ${limit}`,
  );
}
