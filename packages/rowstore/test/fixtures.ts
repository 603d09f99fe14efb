import { mkdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { DTYPES, type NumericDType } from "@shardserve/tensor";
import {
  digestHex,
  type Manifest,
  PartitionFileWriter,
  partitionLayout,
  partitionPath,
  type RowDType,
  storedRowBytes,
  type TableInfo,
} from "../src/index.js";

export function tableOf(
  name: string,
  rows: number,
  rowShape: readonly number[],
  dtype: NumericDType = "float32",
  rowDtype: RowDType = "same",
): TableInfo {
  const dim = rowShape.reduce((product, size) => product * size, 1);
  return {
    name,
    checkpointKey: `${name}/.ATTRIBUTES/VARIABLE_VALUE`,
    rows,
    rowShape,
    dim,
    dtype,
    rowDtype,
    rowBytes: storedRowBytes(rowDtype, dtype, dim),
  };
}

/** Stored rows of a table, filled with random bytes: `rows * rowBytes`. */
export function randomRows(table: TableInfo, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length: table.rows * table.rowBytes }, () => random.uint32() & 0xff);
}

/** The slow twin of an export: writes partition files row by row. @returns digests by partition */
export async function writePartitions(
  directory: string,
  tables: readonly TableInfo[],
  content: readonly Uint8Array[],
  partitionCount: number,
): Promise<string[]> {
  const layout = partitionLayout(tables, partitionCount);
  mkdirSync(join(directory, "partitions"), { recursive: true });
  const digests: string[] = [];
  for (let partition = 0; partition < partitionCount; partition++) {
    const writer = await PartitionFileWriter.create(join(directory, partitionPath(partition)), partition, layout);
    for (const { table, rowBytes, rowCount } of layout.sections) {
      const rows = new Uint8Array(rowCount * rowBytes);
      for (let i = 0; i < rowCount; i++) {
        const id = i * partitionCount + partition;
        rows.set(content[table]!.subarray(id * rowBytes, (id + 1) * rowBytes), i * rowBytes);
      }
      if (rows.length > 0) await writer.append(rows);
    }
    digests.push((await writer.finish()).digest);
  }
  return digests;
}

/** A manifest for files that {@link writePartitions} wrote. */
export function manifestOf(tables: readonly TableInfo[], partitionCount: number, digests: readonly string[]): Manifest {
  const { fileBytes } = partitionLayout(tables, partitionCount);
  return {
    writer: "shardserve test",
    sourceDigest: digestHex(new Uint8Array(1)),
    partitionCount,
    tables,
    lookups: tables.map((table, i) => ({ signature: "serving_default", node: `${table.name}/gather`, table: i })),
    files: digests.map((digest, p) => ({ path: partitionPath(p), bytes: fileBytes, digest })),
  };
}

/** Changes one byte of a file. */
export async function flipByte(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[offset] = bytes[offset]! ^ 0x10;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

export const NUMERIC = Object.keys(DTYPES).filter((name) => DTYPES[name as NumericDType].bytes > 0) as NumericDType[];
