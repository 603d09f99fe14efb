import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Progress, silentProgress, systemClock } from "@shardserve/core";
import {
  DELTA_DENSE_DIR,
  DeltaRowsWriter,
  type DeltaSection,
  deltaPath,
  type ManifestFile,
  writeDeltaManifest,
} from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";
import { eachChangedPiece } from "./changed-rows.js";
import { type DeltaPlan, parentDense } from "./delta-plan.js";
import { checkParity, type ParityReport } from "../export/parity.js";
import { RowSpool } from "../export/row-spool.js";
import { otherFiles } from "../export/run-export.js";
import type { DenseChanges, SourceTensors } from "../source/export-source.js";
import { Staging } from "../export/staging.js";
import { writeError } from "../write-error.js";

/** How a delta is made. */
export interface DeltaRunOptions {
  /** Written into the manifest, such as "shardserve 0.1.0". */
  readonly writer: string;
  /** Compare only; write nothing. */
  readonly isDryRun?: boolean;
  /** Rows are compared in chunks of about this many bytes; default 16 MiB. */
  readonly chunkBytes?: number;
  readonly progress?: Progress;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** How one table differs from the parent epoch. */
export interface DeltaTableReport {
  readonly table: string;
  /** Rows from this epoch on. */
  readonly rows: number;
  /** Rows that differ from the parent's. */
  readonly changed: number;
  /** Rows that the parent does not have. */
  readonly added: number;
  /** Bytes of changed and added rows. */
  readonly bytes: number;
}

/** What a delta holds, or would hold. */
export interface DeltaReport {
  /** Directory of the delta; absent = nothing was written: nothing changed, or only the comparison was wanted. */
  readonly out?: string;
  readonly epoch: number;
  readonly parent: number;
  readonly tables: readonly DeltaTableReport[];
  /** Dense variables whose values changed, and whether the graph did. */
  readonly denseChanged: readonly string[];
  readonly isGraphChanged: boolean;
  /** Bytes of the rows file, and of the dense part where it is written. */
  readonly rowsFileBytes: number;
  readonly denseBytes: number;
  /** Identity of the epoch; absent with `out`. */
  readonly digest?: string;
  readonly parity: readonly ParityReport[];
}

/** Counts of one partition's changed rows, by table. */
type Counts = Map<number, Uint32Array>;

/**
 * Compares a model with a version and writes what changed as the version's next epoch, published in one step. Nothing
 * is written when nothing changed.
 *
 * @throws ServingError OUTPUT_EXISTS when another delta of this epoch is being written; CHECKSUM_MISMATCH, PARITY_FAILED,
 *   DISK_FULL; the signal's reason
 */
export async function runDelta(plan: DeltaPlan, options: DeltaRunOptions): Promise<DeltaReport> {
  await using tensors = await plan.source.source.openTensors();
  const parity: ParityReport[] = [];
  for (const table of plan.tables) {
    if (table.rowDtype !== "same") parity.push(await checkParity(tensors, table, table.rowDtype));
  }
  if (options.isDryRun) return { ...(await compareOnly(plan, tensors, options)), parity };
  const target = join(plan.versionDir, deltaPath(plan.epoch));
  const staging = await Staging.openNew(target);
  try {
    const report = await writeDelta(plan, tensors, staging, options);
    return { ...report, parity };
  } catch (error) {
    await staging.abandon(false);
    throw options.signal?.aborted ? error : writeError(target, error);
  }
}

async function compareOnly(
  plan: DeltaPlan,
  tensors: SourceTensors,
  options: DeltaRunOptions,
): Promise<Omit<DeltaReport, "parity">> {
  const found = new Found(plan);
  await scan(plan, tensors, options, async (piece) => found.count(piece));
  const changes = await denseChanges(plan, options.signal);
  const denseBytes =
    changes.tensors.length > 0 || changes.isGraphChanged
      ? plan.source.dense.reduce((sum, { bytes }) => sum + bytes, 0)
      : 0;
  return { ...found.report(changes, denseBytes), rowsFileBytes: found.rowBytes };
}

async function writeDelta(
  plan: DeltaPlan,
  tensors: SourceTensors,
  staging: Staging,
  options: DeltaRunOptions,
): Promise<Omit<DeltaReport, "parity">> {
  const { epoch, parent, base, source } = plan;
  const { clock = systemClock } = options;
  const found = new Found(plan);
  await using spool = await RowSpool.create(join(staging.dir, "rows.spool"));
  await scan(plan, tensors, options, async (piece) => {
    found.count(piece);
    await spool.add(piece);
  });
  const { partitionCount } = base.manifest;
  const writer = await DeltaRowsWriter.create(staging.dir, epoch, partitionCount, found.sections());
  const { bytes: rowsFileBytes } = writer;
  const segments = await (async () => {
    try {
      for await (const { table, partition, positions, rows } of spool.read()) {
        options.signal?.throwIfAborted();
        await writer.append(table, partition, positions, rows);
      }
      return await writer.finish();
    } finally {
      await writer.close();
    }
  })();
  await spool[Symbol.asyncDispose]();
  const changes = await denseChanges(plan, options.signal);
  const files = await writeDense(plan, staging.dir, options.signal);
  const denseBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const report = { ...found.report(changes, denseBytes), rowsFileBytes };
  if (segments.length === 0 && files.length === 0 && !found.hasGrown) {
    await staging.abandon(false);
    return report;
  }
  const { digest } = await writeDeltaManifest(staging.dir, {
    writer: options.writer,
    epoch,
    baseDigest: base.digest,
    parent,
    sourceDigest: source.sourceDigest,
    createdAtMs: Math.floor(clock.wallMs()),
    partitionCount,
    tables: plan.tables.map(({ rows }, table) => ({ rows, changed: found.changedOf(table) })),
    segments,
    files,
  });
  await staging.publish();
  return { ...report, out: join(plan.versionDir, deltaPath(epoch)), digest };
}

async function scan(
  plan: DeltaPlan,
  tensors: SourceTensors,
  options: DeltaRunOptions,
  visit: Parameters<typeof eachChangedPiece>[2],
): Promise<void> {
  const { progress = silentProgress, signal, chunkBytes } = options;
  const bytes = plan.tables.reduce((sum, { rows, dim, dtype }) => sum + rows * dim * DTYPES[dtype].bytes, 0);
  const task = progress.task("comparing", bytes, "bytes");
  await eachChangedPiece(plan, tensors, visit, { progress: task, signal, ...(chunkBytes && { chunkBytes }) });
  task.done();
}

/** Counts what the comparison finds. */
class Found {
  readonly #plan: DeltaPlan;
  readonly #counts: Counts = new Map();
  readonly #added: number[];

  constructor(plan: DeltaPlan) {
    this.#plan = plan;
    this.#added = plan.tables.map(() => 0);
  }

  count({
    table,
    partition,
    positions,
    added,
  }: {
    table: number;
    partition: number;
    positions: Uint32Array;
    added: number;
  }): void {
    let counts = this.#counts.get(partition);
    if (!counts) this.#counts.set(partition, (counts = new Uint32Array(this.#plan.tables.length)));
    counts[table] = counts[table]! + positions.length;
    this.#added[table] = this.#added[table]! + added;
  }

  changedOf(table: number): number {
    let changed = 0;
    for (const counts of this.#counts.values()) changed += counts[table]!;
    return changed;
  }

  get hasGrown(): boolean {
    return this.#plan.tables.some(({ rows }, table) => rows !== this.#plan.parentRows[table]);
  }

  get rowBytes(): number {
    return this.#plan.tables.reduce((sum, { rowBytes }, table) => sum + this.changedOf(table) * rowBytes, 0);
  }

  sections(): { readonly partition: number; readonly sections: readonly DeltaSection[] }[] {
    return [...this.#counts]
      .sort(([a], [b]) => a - b)
      .map(([partition, counts]) => ({
        partition,
        sections: this.#plan.tables
          .map(({ rowBytes }, table) => ({ table, rowBytes, rowCount: counts[table]! }))
          .filter(({ rowCount }) => rowCount > 0),
      }));
  }

  report({ tensors, isGraphChanged }: DenseChanges, denseBytes: number): Omit<DeltaReport, "parity" | "rowsFileBytes"> {
    const { epoch, parent, tables } = this.#plan;
    return {
      epoch,
      parent: parent.epoch,
      tables: tables.map(({ name, rows, rowBytes }, table) => {
        const added = this.#added[table]!;
        return {
          table: name,
          rows,
          changed: this.changedOf(table) - added,
          added,
          bytes: this.changedOf(table) * rowBytes,
        };
      }),
      denseChanged: tensors,
      isGraphChanged,
      denseBytes,
    };
  }
}

function denseChanges(plan: DeltaPlan, signal: AbortSignal | undefined): Promise<DenseChanges> {
  return plan.source.source.changesSince(parentDense(plan).dir, { ...plan.source, signal });
}

/** The dense model of the epoch. @returns its files; [] when they are byte for byte the parent's, then none is kept */
async function writeDense(plan: DeltaPlan, dir: string, signal: AbortSignal | undefined): Promise<ManifestFile[]> {
  const dense = join(dir, DELTA_DENSE_DIR);
  await mkdir(dense);
  const progress = silentProgress.task("", 0, "bytes");
  await plan.source.source.writeRemainder({ ...plan.source, dir: dense, progress, signal });
  const files = await otherFiles(dense, signal);
  const before = parentDense(plan).files;
  const isSame =
    files.length === before.length &&
    files.every((file, i) => file.path === before[i]?.path && file.digest === before[i].digest);
  if (!isSame) return files.map((file) => ({ ...file, path: `${DELTA_DENSE_DIR}/${file.path}` }));
  await rm(dense, { recursive: true });
  return [];
}
