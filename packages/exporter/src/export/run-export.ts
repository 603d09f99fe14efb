import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Logger, type Progress, ServingError, silentLogger, silentProgress } from "@shardserve/core";
import { loadOrt } from "@shardserve/native";
import {
  digestHex,
  encodeManifest,
  fileDigest,
  isPartitionPath,
  type Manifest,
  type ManifestFile,
  partitionPath,
  readManifest,
  writeManifest,
} from "@shardserve/rowstore";
import { filesBelow } from "../files-below.js";
import type { ExportPlan } from "./export-plan.js";
import { warnOfRoom } from "./disk-room.js";
import { JOURNAL_NAME, readJournal } from "./journal.js";
import { checkParity, type ParityReport } from "./parity.js";
import { CHUNK_BYTES, JOURNAL_EVERY_BYTES, RowWriter } from "./row-writer.js";
import { shareFiles } from "./share-files.js";
import { Staging } from "./staging.js";
import type { SourceTensors } from "../source/export-source.js";
import { writeError } from "../write-error.js";

/** How an export runs: what it reports to, how much memory it takes, what may stop it. */
export interface RunOptions {
  /** Written into the manifest, such as "shardserve 0.1.0". */
  readonly writer: string;
  /** Rows are moved in chunks of about this many bytes, default 32 MiB; memory is six chunks. */
  readonly chunkBytes?: number;
  /** Version directory whose partition files are taken over, as links, where they are the same. */
  readonly shareWith?: string;
  /** How often progress is recorded for a later run, default every 1 GiB. */
  readonly journalEveryBytes?: number;
  readonly progress?: Progress;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** What an export wrote. */
export interface ExportReport {
  readonly out: string;
  readonly partitionCount: number;
  readonly tableBytes: number;
  readonly denseBytes: number;
  /** Identity of the version. */
  readonly manifestDigest: string;
  readonly isResumed: boolean;
  /** Partition files that are one with those of `shareWith`. */
  readonly sharedPartitions: number;
  /** One per table with reduced rows. */
  readonly parity: readonly ParityReport[];
}

/**
 * Writes a version directory and publishes it in one step.
 *
 * A run that is killed, or stopped through the signal, goes on where it was when it is started again with the same
 * source and options. Any other failure removes what was written.
 *
 * @param out  version directory, `BASE/NAME/VERSION`; must not exist
 * @throws ServingError OUTPUT_EXISTS, CHECKSUM_MISMATCH, PARITY_FAILED, DISK_FULL; the signal's reason
 */
export async function runExport(plan: ExportPlan, out: string, options: RunOptions): Promise<ExportReport> {
  const { signal } = options;
  await using tensors = await plan.source.openTensors();
  const parity: ParityReport[] = [];
  for (const table of plan.tables) {
    if (table.rowDtype !== "same") parity.push(await checkParity(tensors, table, table.rowDtype));
  }
  const staging = await Staging.open(out);
  try {
    return { out, parity, ...(await writeVersion(plan, tensors, staging, options)) };
  } catch (error) {
    const lost = await staging.checkHeld().catch((reason: unknown) => ServingError.from(reason));
    await staging.abandon(signal?.aborted === true);
    throw signal?.aborted ? error : (lost ?? writeError(out, error));
  }
}

/** Rows, then what remains of the model, then the manifest; what a run before wrote is kept. */
async function writeVersion(
  plan: ExportPlan,
  tensors: SourceTensors,
  staging: Staging,
  options: RunOptions,
): Promise<Omit<ExportReport, "out" | "parity">> {
  const { progress = silentProgress, logger = silentLogger, signal, shareWith } = options;
  const { chunkBytes = CHUNK_BYTES, journalEveryBytes = JOURNAL_EVERY_BYTES } = options;
  const { tables, layout } = plan;
  const { dir } = staging;
  const exportDigest = digestOfExport(plan);
  await prepare(staging, exportDigest);
  const { tableBytes, denseBytes } = bytesOf(plan);
  await warnOfRoom(dir, layout.fileBytes * layout.partitionCount + denseBytes, logger);
  const task = progress.task("exporting", sourceBytes(plan) + denseBytes, "bytes");
  const writer = new RowWriter({
    ort: loadOrt(),
    source: tensors,
    tables,
    layout,
    dir,
    exportDigest,
    chunkBytes,
    journalEveryBytes,
    progress: task,
    logger,
    signal,
  });
  const partitions = await writer.write();
  const sharedPartitions = shareWith === undefined ? 0 : await shareFiles(shareWith, dir, partitions);
  await plan.source.writeRemainder({ ...plan, dir, progress: task, signal });
  await rm(join(dir, JOURNAL_NAME), { force: true });
  const files = [
    ...partitions.map(({ bytes, digest }, partition) => ({ path: partitionPath(partition), bytes, digest })),
    ...(await otherFiles(dir, signal)),
  ];
  const manifestDigest = await writeManifest(dir, manifestOf(plan, options.writer, files));
  await staging.publish();
  task.done();
  const { partitionCount } = layout;
  return { partitionCount, tableBytes, denseBytes, manifestDigest, isResumed: writer.isResumed, sharedPartitions };
}

/**
 * The report of an earlier run of the same export that finished; undefined when the directory holds no such version. What a table
 * lost to reduced rows is not known any more.
 */
export async function reportOfExport(plan: ExportPlan, out: string): Promise<ExportReport | undefined> {
  const stored = await readManifest(out);
  if (!stored) return undefined;
  const exported = digestHex(encodeManifest({ ...stored.manifest, writer: "", files: [] }));
  if (exported !== digestOfExport(plan)) return undefined;
  const { tableBytes, denseBytes } = bytesOf(plan);
  return {
    out,
    partitionCount: plan.layout.partitionCount,
    tableBytes,
    denseBytes,
    manifestDigest: stored.digest,
    isResumed: true,
    sharedPartitions: 0,
    parity: [],
  };
}

/** Of rows as they are stored, and of the dense remainder. */
function bytesOf({ tables, dense }: ExportPlan): { readonly tableBytes: number; readonly denseBytes: number } {
  return {
    tableBytes: tables.reduce((sum, { rows, rowBytes }) => sum + rows * rowBytes, 0),
    denseBytes: dense.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** Keeps what an earlier run of the same export left, and nothing else. */
async function prepare(staging: Staging, exportDigest: string): Promise<void> {
  if (await readJournal(staging.dir, exportDigest)) return;
  await staging.clear();
  await mkdir(join(staging.dir, "partitions"));
}

function manifestOf(plan: ExportPlan, writer: string, files: readonly ManifestFile[]): Manifest {
  const { sourceDigest, layout, tables, lookups } = plan;
  return { writer, sourceDigest, partitionCount: layout.partitionCount, tables, lookups, files };
}

/** Of everything that decides the bytes that an export writes. */
function digestOfExport(plan: ExportPlan): string {
  return digestHex(encodeManifest(manifestOf(plan, "", [])));
}

function sourceBytes(plan: ExportPlan): number {
  return plan.tables.reduce(
    (sum, table) => sum + table.rows * (table.rowDtype === "same" ? table.rowBytes : table.dim * 4),
    0,
  );
}

/** Everything but the partition files, with digests. */
export async function otherFiles(dir: string, signal: AbortSignal | undefined): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const { path, bytes } of await filesBelow(dir)) {
    if (isPartitionPath(path)) continue;
    files.push({ path, bytes, digest: await fileDigest(join(dir, path), signal ? { signal } : {}) });
  }
  return files;
}
