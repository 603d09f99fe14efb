import { type Random, ServingError } from "@shardserve/core";
import { openSourceTensors, type SourceTensors } from "@shardserve/exporter";
import type { PartitionRows, TableInfo } from "@shardserve/rowstore";
import { bytesOf, type NumericData } from "@shardserve/tensor";

/** Reduced rows may be off by this fraction of the largest magnitude in the sample: the bound of the export's parity check. */
export const REDUCED_ERROR_MAX = 0.01;

/** How a sample of one table's rows compares with the model's. */
export interface RowsReport {
  readonly table: string;
  readonly rowsCompared: number;
  readonly maxAbsError: number;
}

/**
 * Compares a sample of each table's rows with the model's.
 *
 * @param compared  version and epoch that the rows are of, for the error
 * @throws ServingError DIGEST_MISMATCH naming those, table and row at the first row that differs
 */
export async function compareRows(
  source: string,
  exported: PartitionRows,
  { compared, count, random }: { readonly compared: string; readonly count: number; readonly random: Random },
): Promise<RowsReport[]> {
  await using tensors = await openSourceTensors(source);
  const reports: RowsReport[] = [];
  for (const [table, info] of exported.tables.entries()) {
    const ids = BigInt64Array.from({ length: Math.min(count, info.rows) }, (_, i) =>
      BigInt(info.rows <= count ? i : Math.floor(random.next() * info.rows)),
    );
    const lease = await exported.lookup([{ table, ids }]);
    const actual = lease.batches[0]!.rows.toTensor().data as NumericData;
    lease.release();
    reports.push({
      table: info.name,
      rowsCompared: ids.length,
      maxAbsError: await compareTable(tensors, { info, compared }, ids, actual),
    });
  }
  return reports;
}

async function compareTable(
  tensors: SourceTensors,
  { info, compared }: { readonly info: TableInfo; readonly compared: string },
  ids: BigInt64Array,
  actual: NumericData,
): Promise<number> {
  const differs = (id: bigint, why: string): ServingError =>
    new ServingError("DIGEST_MISMATCH", `row ${id} of ${info.name} in ${compared}: ${why}`, {
      details: { table: info.checkpointKey, id: String(id) },
    });
  const rowBytes = bytesOf(actual).length / Math.max(1, ids.length);
  let maxAbsError = 0;
  for (let i = 0; i < ids.length; i++) {
    const expected = await tensors.readRange(info.checkpointKey, Number(ids[i]!) * rowBytes, rowBytes);
    const row = bytesOf(actual).subarray(i * rowBytes, (i + 1) * rowBytes);
    if (info.rowDtype === "same") {
      if (!Buffer.from(expected).equals(row)) throw differs(ids[i]!, "its bytes differ");
      continue;
    }
    const floats = new Float32Array(expected.slice().buffer);
    const magnitude = floats.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (let j = 0; j < floats.length; j++) {
      const error = Math.abs(floats[j]! - Number(actual[i * info.dim + j]!));
      if (!(error <= REDUCED_ERROR_MAX * magnitude)) throw differs(ids[i]!, `element ${j} is off by ${error}`);
      maxAbsError = Math.max(maxAbsError, error);
    }
  }
  return maxAbsError;
}
