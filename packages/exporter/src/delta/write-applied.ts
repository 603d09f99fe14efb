import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type AppliedSource,
  DeltaRowsWriter,
  deltaPath,
  type DeltaSection,
  type EpochRef,
  listEpochs,
  NO_SOURCE,
  type StoredManifest,
  type TableInfo,
  writeDeltaManifest,
} from "@shardserve/rowstore";
import type { PendingRows } from "../export/pending-rows.js";
import { Staging } from "../export/staging.js";
import { writeError } from "../write-error.js";

/** What an epoch of streamed rows stands on. */
export interface AppliedParent {
  readonly versionDir: string;
  readonly base: StoredManifest;
  readonly parent: EpochRef;
  /** Tables as they are at the parent; streamed rows add none. */
  readonly tables: readonly TableInfo[];
  /** Numbers up to this one are taken, also by deltas that are not in `versionDir`; default those that are there. */
  readonly takenUpTo?: number;
}

/** Of a delta of rows that trainers streamed: who writes it, when, and how far its sources are. */
export interface AppliedOptions {
  readonly writer: string;
  readonly createdAtMs: number;
  /** How far each source is with this epoch. */
  readonly applied: readonly AppliedSource[];
}

/**
 * Writes rows that were streamed as the next delta of a version; when it returns, the delta is on the disk and found by the
 * leader.
 *
 * @throws ServingError OUTPUT_EXISTS when somebody else writes this epoch; DISK_FULL or FAILED_PRECONDITION where
 *   nothing can be written
 */
export async function writeApplied(
  { versionDir, base, parent, tables, takenUpTo = 0 }: AppliedParent,
  pending: PendingRows,
  { writer: name, createdAtMs, applied }: AppliedOptions,
): Promise<EpochRef> {
  const { partitionCount } = base.manifest;
  const epoch = Math.max(parent.epoch, takenUpTo, (await listEpochs(versionDir)).at(-1) ?? 0) + 1;
  const target = join(versionDir, deltaPath(epoch));
  const staging = await Staging.openNew(target);
  try {
    const sections = [];
    const counts = new Map<number, DeltaSection[]>();
    for (const section of pending.sections(partitionCount)) {
      const { table, partition, positions } = section;
      const { rowBytes } = tables[table]!;
      const ofPartition = counts.get(partition) ?? [];
      counts.set(partition, ofPartition);
      ofPartition.push({ table, rowBytes, rowCount: positions.length });
      sections.push(section);
      await nextTurn();
    }
    const ascending = [...counts].sort(([a], [b]) => a - b).map(([partition, list]) => ({ partition, sections: list }));
    const writer = await DeltaRowsWriter.create(staging.dir, epoch, partitionCount, ascending);
    const segments = await (async () => {
      try {
        for (const { table, partition, positions, rows } of sections)
          await writer.append(table, partition, positions, rows);
        return await writer.finish();
      } finally {
        await writer.close();
      }
    })();
    const ref = await writeDeltaManifest(staging.dir, {
      writer: name,
      epoch,
      baseDigest: base.digest,
      parent,
      sourceDigest: NO_SOURCE,
      createdAtMs,
      partitionCount,
      tables: tables.map(({ rows }, table) => ({ rows, changed: pending.countOf(table) })),
      segments,
      files: [],
      applied,
    });
    await staging.publish();
    return ref;
  } catch (error) {
    await staging.abandon(false);
    throw writeError(target, error);
  }
}
