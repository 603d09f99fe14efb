import { type ExportPlan, type ExportReport, type ShardShare, shardShares } from "@shardserve/exporter";
import type { Terminal } from "../command.js";
import { amount, table } from "../terminal.js";

/** Shard counts for which a plan tells how full the fullest would be. */
const SHARD_COUNTS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/** Largest parts of the dense remainder that are listed; of a deep model there are thousands. */
const DENSE_SHOWN_MAX = 12;

/** What `--dry-run` prints. */
export function printPlan(plan: ExportPlan, isJson: boolean, terminal: Terminal): void {
  const shares = shardShares(plan, SHARD_COUNTS);
  if (isJson) return terminal.print(JSON.stringify(planRecord(plan, shares), undefined, 2));
  const lines = [...tableLines(plan, shares), ...denseLines(plan), ...unusedLines(plan)];
  for (const line of lines) terminal.print(line);
}

/** The plan, for programs. */
function planRecord(
  { source, sourceDigest, tables, layout, dense, unused, lookups }: ExportPlan,
  shards: readonly ShardShare[],
) {
  const partition = { count: layout.partitionCount, fileBytes: layout.fileBytes };
  return { source: source.kind, sourceDigest, tables, lookups, partition, dense, unused, shards };
}

function tableLines({ tables, layout }: ExportPlan, shares: readonly ShardShare[]): string[] {
  const tableBytes = tables.reduce((sum, { rows, rowBytes }) => sum + rows * rowBytes, 0);
  const head = `${tables.length} tables to shard, ${amount(tableBytes, "bytes")} of rows:`;
  if (tables.length === 0) return [head];
  const rows = tables.map(({ name, rows: count, rowShape, dtype, rowDtype, rowBytes }) => [
    `  ${name}`,
    count,
    `${dtype}[${rowShape.join(",")}]`,
    rowDtype === "same" ? dtype : rowDtype,
    count * rowBytes,
  ]);
  const { partitionCount, fileBytes } = layout;
  const fullest = shares.map((share) => `${share.shardCount}: ${amount(share.bytesPerShardMax, "bytes")}`);
  return [
    head,
    table([["  table", "rows", "row", "stored as", "bytes"], ...rows]),
    `${partitionCount} partition files of ${fileBytes} bytes (${amount(fileBytes, "bytes")}) each`,
    `fullest of N shards, one replica: ${fullest.join(", ")}`,
  ];
}

function denseLines({ dense, source }: ExportPlan): string[] {
  const denseBytes = dense.reduce((sum, { bytes }) => sum + bytes, 0);
  const noun = source.kind === "SavedModel" ? "variables" : "initialisers";
  const largest = [...dense].sort((a, b) => b.bytes - a.bytes);
  const left = largest.length - DENSE_SHOWN_MAX;
  return [
    `${dense.length} ${noun} stay in the dense graph, ${amount(denseBytes, "bytes")}:`,
    ...largest
      .slice(0, DENSE_SHOWN_MAX)
      .map(({ checkpointKey, bytes, why }) => `  ${checkpointKey}: ${bytes} bytes, ${why}`),
    ...(left > 0 ? [`  and ${left} smaller ones (all with --json)`] : []),
  ];
}

function unusedLines({ unused }: ExportPlan): string[] {
  if (unused.length === 0) return [];
  const unusedBytes = unused.reduce((sum, { bytes }) => sum + bytes, 0);
  return [`${unused.length} variables that no signature reads are left out, ${amount(unusedBytes, "bytes")}`];
}

/** What an export prints when it is done. */
export function printReport(report: ExportReport, isJson: boolean, terminal: Terminal): void {
  if (isJson) return terminal.print(JSON.stringify(report, undefined, 2));
  for (const { table: name, rowDtype, rowsChecked, maxAbsError, meanAbsError, maxRelativeError } of report.parity) {
    terminal.print(
      `parity of ${name} as ${rowDtype}: ${rowsChecked} rows checked, error max ${maxAbsError.toPrecision(3)} ` +
        `(${(100 * maxRelativeError).toPrecision(2)} % of the largest value), mean ${meanAbsError.toPrecision(3)}`,
    );
  }
  terminal.print(
    `${report.out}: ${report.partitionCount} partitions, ${amount(report.tableBytes, "bytes")} of rows, ${amount(report.denseBytes, "bytes")} dense, digest ${report.manifestDigest}`,
  );
  if (report.sharedPartitions > 0)
    terminal.print(`${report.sharedPartitions} partition files are those of the base and take no room of their own`);
}
