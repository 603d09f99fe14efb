import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type Manifest,
  PartitionFileWriter,
  partitionLayout,
  partitionPath,
  readManifest,
  type StoredManifest,
  type TableInfo,
  writeManifest,
} from "@shardserve/rowstore";

/** The version that `bench lookup` serves. */
export const TABLES = 26;
export const DIM = 64;
export const ROW_BYTES = DIM * 4;
export const PARTITIONS = 61;
export const CLUSTER = "bench";
export const MODEL = "bench";
export const VERSION = 1;

/** A version whose rows are arbitrary: nobody reads them, they are only moved. */
export async function writeVersion(directory: string, rowsPerTable: number): Promise<StoredManifest> {
  await mkdir(join(directory, "partitions"), { recursive: true });
  const tables = Array.from({ length: TABLES }, (_, i): TableInfo => {
    const shape = { rows: rowsPerTable, rowShape: [DIM], dim: DIM, rowBytes: ROW_BYTES };
    return { name: `t${i}`, checkpointKey: `t${i}`, dtype: "float32", rowDtype: "same", ...shape };
  });
  const layout = partitionLayout(tables, PARTITIONS);
  const files: Manifest["files"][number][] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const path = partitionPath(partition);
    const writer = await PartitionFileWriter.create(join(directory, path), partition, layout);
    for (const { rowCount } of layout.sections) {
      await writer.append(new Uint8Array(new Float32Array(rowCount * DIM).fill(partition + 0.5).buffer));
    }
    files.push({ path, ...(await writer.finish()) });
  }
  const sourceDigest = "0".repeat(32);
  await writeManifest(directory, {
    writer: "bench",
    sourceDigest,
    partitionCount: PARTITIONS,
    tables,
    lookups: [],
    files,
  });
  return (await readManifest(directory)) as StoredManifest;
}
