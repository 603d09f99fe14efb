import type { LookupExplanation } from "@shardserve/core";
import type { RowLease, RowReport, TableInfo } from "@shardserve/rowstore";
import { type RowsReport, sumOf, type TableRows } from "@shardserve/servable";

/** Adds up the lookups of one run, those in its loops and branches included. */
export class RowsTally {
  /** By the tables of their source; counts of later lookups are added to those of the first. */
  readonly #bySource = new Map<readonly TableInfo[], RowReport>();
  readonly #lookups: LookupExplanation[] = [];
  #epoch = 0;

  add({ report, explanation }: Pick<RowLease, "report" | "explanation">): void {
    if (!report) return;
    if (explanation) this.#lookups.push(explanation);
    this.#epoch = Math.max(this.#epoch, report.epoch);
    const total = this.#bySource.get(report.tables);
    if (!total) return void this.#bySource.set(report.tables, report);
    addTo(total.cacheRows, report.cacheRows);
    addTo(total.shardRows, report.shardRows);
    addTo(total.redisRows, report.redisRows);
    addTo(total.staleRows, report.staleRows);
    addTo(total.defaultRows, report.defaultRows);
  }

  /** @returns undefined when no rows were looked up but this machine's own */
  report(): RowsReport | undefined {
    if (this.#bySource.size === 0) return undefined;
    const tables: TableRows[] = [];
    for (const [infos, report] of this.#bySource) {
      const { cacheRows, shardRows, redisRows, staleRows, defaultRows } = report;
      infos.forEach(({ checkpointKey: table }, i) => {
        const rows = {
          table,
          cacheRows: cacheRows[i]!,
          shardRows: shardRows[i]!,
          redisRows: redisRows[i]!,
          staleRows: staleRows[i]!,
          defaultRows: defaultRows[i]!,
        };
        if (rows.cacheRows + rows.shardRows + rows.redisRows + rows.staleRows + rows.defaultRows > 0) tables.push(rows);
      });
    }
    const lookups = this.#lookups;
    return { ...sumOf(tables), epoch: this.#epoch, tables, ...(lookups.length > 0 && { lookups }) };
  }
}

function addTo(total: Uint32Array, counts: Uint32Array): void {
  for (let i = 0; i < counts.length; i++) total[i]! += counts[i]!;
}
