import { ServingError } from "@shardserve/core";
import type { RowReport } from "@shardserve/rowstore";

/** What may stand in for rows that cannot be had. Nothing, unless the operator says so. */
export interface DegradedRows {
  /** Rows of an older epoch from Redis, superseded no longer ago than this, in milliseconds; 0 = none. */
  readonly staleMaxAgeMs: number;
  /** Rows of zeros. */
  readonly allowDefault: boolean;
  /** Largest share of a lookup's ids that may get either. */
  readonly shareMax: number;
}

/** Older epochs that are remembered. */
const EPOCHS_MAX = 4;

/** When epochs were superseded here, newest first: what "stale" is measured by. */
export class EpochHistory {
  readonly #past: { readonly epoch: number; readonly supersededMs: number }[] = [];

  superseded(epoch: number, nowMs: number): void {
    this.#past.unshift({ epoch, supersededMs: nowMs });
    this.#past.length = Math.min(this.#past.length, EPOCHS_MAX);
  }

  /** Epochs whose rows were current no longer ago than `maxAgeMs`, newest first. */
  within(maxAgeMs: number, nowMs: number): number[] {
    return this.#past.filter(({ supersededMs }) => nowMs - supersededMs <= maxAgeMs).map(({ epoch }) => epoch);
  }
}

/**
 * Refuses a lookup with more degraded rows than the operator allows.
 *
 * @throws ServingError ROWS_DEGRADED naming the worst table
 */
export function checkDegraded(report: RowReport, idCount: number, { shareMax }: DegradedRows, servable: string): void {
  const { staleRows, defaultRows, tables } = report;
  const byTable = tables.map((_, table) => staleRows[table]! + defaultRows[table]!);
  const degraded = byTable.reduce((sum, rows) => sum + rows, 0);
  if (degraded <= shareMax * idCount) return;
  const most = Math.max(...byTable);
  throw new ServingError(
    "ROWS_DEGRADED",
    `${degraded} of ${idCount} rows of ${servable} could only be stale or defaults, ${most} of them of table ` +
      `${tables[byTable.indexOf(most)]?.checkpointKey}; at most ${shareMax * 100} % are allowed`,
  );
}
