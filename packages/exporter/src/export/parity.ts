import { ServingError } from "@shardserve/core";
import { encodeRows, type RowDType, rowDecoder, StoredRows, type TableInfo } from "@shardserve/rowstore";
import type { SourceTensors } from "../source/export-source.js";

/** What reduced precision costs on rows of one table that were looked at. */
export interface ParityReport {
  readonly table: string;
  readonly rowDtype: string;
  readonly rowsChecked: number;
  readonly maxAbsError: number;
  readonly meanAbsError: number;
  /** Largest error as a fraction of the largest magnitude among the rows. */
  readonly maxRelativeError: number;
}

/** Runs of neighbouring rows looked at, spread evenly over the table. */
const RUNS = 64;
const RUN_ROWS = 64;
/** int8 rows have steps of 1/255 of their own range, float16 of 1/2048 of a value: more than this is an overflow or a bug. */
const RELATIVE_ERROR_MAX = 0.01;

/**
 * Encodes and decodes sample rows as the export will, and compares them with the model's.
 *
 * @throws ServingError PARITY_FAILED when a row's error exceeds 1 % of the largest magnitude, or a value is lost
 */
export async function checkParity(
  tensors: SourceTensors,
  table: TableInfo,
  rowDtype: Exclude<RowDType, "same">,
): Promise<ParityReport> {
  const runRows = Math.min(RUN_ROWS, table.rows);
  const starts = new Set<number>();
  for (let run = 0; run < RUNS; run++) starts.add(Math.floor((run * (table.rows - runRows)) / Math.max(RUNS - 1, 1)));
  const encoded = new Uint8Array(runRows * table.rowBytes);
  const decoded = new Float32Array(runRows * table.dim);
  const stored = new StoredRows(encoded);
  const decode = rowDecoder(table);
  const slots = Int32Array.from({ length: runRows }, (_, row) => row);
  let maxAbsError = 0;
  let sumAbsError = 0;
  let magnitude = 0;
  for (const start of starts) {
    const bytes = await tensors.readRange(table.checkpointKey, start * table.dim * 4, runRows * table.dim * 4);
    const rows = new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, runRows * table.dim);
    encodeRows(rowDtype, rows, runRows, table.dim, encoded);
    decode(stored, 0, runRows, decoded, slots, 0);
    for (let i = 0; i < rows.length; i++) {
      const error = Math.abs(rows[i]! - decoded[i]!);
      // Infinity and NaN survive float16; a number that turned into either did not.
      const isSame = Object.is(rows[i], decoded[i]) || error === 0;
      if (!isSame) {
        maxAbsError = Math.max(maxAbsError, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
        sumAbsError += error;
      }
      if (Number.isFinite(rows[i])) magnitude = Math.max(magnitude, Math.abs(rows[i]!));
    }
  }
  const rowsChecked = starts.size * runRows;
  const report: ParityReport = {
    table: table.name,
    rowDtype: table.rowDtype,
    rowsChecked,
    maxAbsError,
    meanAbsError: sumAbsError / Math.max(1, rowsChecked * table.dim),
    maxRelativeError: maxAbsError === 0 ? 0 : maxAbsError / magnitude,
  };
  if (!(report.maxRelativeError <= RELATIVE_ERROR_MAX)) {
    throw new ServingError(
      "PARITY_FAILED",
      `table "${table.name}": as ${table.rowDtype} a row is off by ${maxAbsError}, ${(100 * report.maxRelativeError).toPrecision(3)} % of the largest value; ` +
        "export it with --row-dtype=float32",
      { details: { ...report } },
    );
  }
  return report;
}
