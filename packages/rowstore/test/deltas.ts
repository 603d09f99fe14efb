import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  DeltaFile,
  DeltaRowsWriter,
  deltaPath,
  type EpochRef,
  type TableInfo,
  writeDeltaManifest,
} from "../src/index.js";

/** Rows that a delta brings: per table, row bytes by id. */
export type Changes = readonly ReadonlyMap<number, Uint8Array>[];

export interface DeltaWish {
  readonly epoch: number;
  readonly parent: EpochRef;
  readonly baseDigest: string;
  readonly changes: Changes;
  /** Rows of each table from now on. */
  readonly rows: readonly number[];
}

/** Writes a delta row by row. @returns its identity */
export async function writeDelta(
  versionDir: string,
  tables: readonly TableInfo[],
  partitionCount: number,
  { epoch, parent, baseDigest, changes, rows }: DeltaWish,
): Promise<EpochRef> {
  const directory = join(versionDir, deltaPath(epoch));
  await mkdir(directory, { recursive: true });
  const idsOf = (table: number, partition: number) =>
    [...(changes[table]?.keys() ?? [])].filter((id) => id % partitionCount === partition).sort((a, b) => a - b);
  const counts = Array.from({ length: partitionCount }, (_, partition) => ({
    partition,
    sections: tables
      .map(({ rowBytes }, table) => ({ table, rowBytes, rowCount: idsOf(table, partition).length }))
      .filter(({ rowCount }) => rowCount > 0),
  })).filter(({ sections }) => sections.length > 0);
  const writer = await DeltaRowsWriter.create(directory, epoch, partitionCount, counts);
  for (const [table, { rowBytes }] of tables.entries()) {
    for (const { partition } of counts) {
      for (const id of idsOf(table, partition)) {
        const position = Uint32Array.of(Math.floor(id / partitionCount));
        await writer.append(table, partition, position, changes[table]!.get(id)!.subarray(0, rowBytes));
      }
    }
  }
  const segments = await writer.finish();
  await writer.close();
  return writeDeltaManifest(directory, {
    writer: "test",
    epoch,
    baseDigest,
    parent,
    sourceDigest: baseDigest,
    createdAtMs: 0,
    partitionCount,
    tables: tables.map((_, table) => ({ rows: rows[table]!, changed: changes[table]?.size ?? 0 })),
    segments,
    files: [],
  });
}

export function openDelta(versionDir: string, tables: readonly TableInfo[], epoch: number): Promise<DeltaFile> {
  return DeltaFile.open(join(versionDir, deltaPath(epoch)), tables);
}
