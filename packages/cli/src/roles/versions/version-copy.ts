import { join } from "node:path";
import { BytePace, inParallel, type Logger, type Progress, ServingError, systemClock } from "@shardserve/core";
import { childUri, parseStoreUri, StoredFiles, type Stores } from "@shardserve/object-store";
import {
  DELTA_MANIFEST_FILE,
  DELTA_ROWS_FILE,
  deltaPath,
  EPOCH_FOLDERS,
  epochNumber,
  isPartitionPath,
  listEpochs,
  listFolds,
  MANIFEST_FILE,
  type ManifestFile,
  readDeltaManifest,
  readManifest,
} from "@shardserve/rowstore";
import { CopiedFiles } from "@shardserve/shard";
import { provideProved } from "./dense-files.js";

/** Files that are read at the same time. */
export const READS_MAX = 4;

export interface VersionCopyOptions {
  readonly stores: Stores;
  /** Of the version. */
  readonly uri: string;
  readonly directory: string;
  readonly progress: Progress;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Makes a folder hold a version of an object store with all its deltas and folds, for commands that read versions whole. What is there
 * already is not read again; partition files and rows of deltas are proved by their readers.
 *
 * @throws ServingError MANIFEST_INVALID when no exported version is there; UNAVAILABLE; CHECKSUM_MISMATCH; the signal's reason
 */
export async function copyVersion(options: VersionCopyOptions): Promise<void> {
  const { stores, uri, directory, progress, logger, signal } = options;
  const place = parseStoreUri(uri);
  const store = await stores.of(place);
  if (!(await store.find(place, MANIFEST_FILE, signal)))
    throw new ServingError("MANIFEST_INVALID", `${uri} has no ${MANIFEST_FILE}; write it with shard-export`);
  const files = copiedVersion({ stores, uri, directory, logger });
  await files.provide(MANIFEST_FILE, signal);
  const stored = await readManifest(directory);
  if (stored) await files.dropOutdated(stored);
  const wanted = stored?.manifest.files ?? [];
  const task = progress.task(
    `copying ${uri}`,
    wanted.reduce((sum, { bytes }) => sum + bytes, 0),
    "bytes",
  );
  await inParallel(wanted, READS_MAX, async (file) => {
    await provideOne(files, file, signal);
    task.advance(file.bytes);
  });
  task.done();
  for (const folder of EPOCH_FOLDERS) {
    for (const name of (await store.children(parseStoreUri(childUri(uri, folder)), signal)).folders) {
      if (epochNumber(name) === undefined) continue;
      const path = `${folder}/${name}`;
      if (await store.find(place, `${path}/${DELTA_MANIFEST_FILE}`, signal)) await copyEpoch(files, path, signal);
    }
  }
}

/** A folder into which single files of a version in an object store are copied. */
export function copiedVersion({
  stores,
  uri,
  directory,
  logger,
}: Pick<VersionCopyOptions, "stores" | "uri" | "directory" | "logger">): CopiedFiles {
  const pace = new BytePace(Number.POSITIVE_INFINITY, systemClock);
  const repository = new StoredFiles({ stores, uri, pace, clock: systemClock });
  const roomCure = "make room there";
  return new CopiedFiles({ directory, peers: () => [], repository, roomCure, onCopied: () => undefined, logger });
}

function provideOne(files: CopiedFiles, file: ManifestFile, signal: AbortSignal): Promise<void> {
  return isPartitionPath(file.path) ? files.provide(file.path, signal) : provideProved(files, "", file, signal);
}

/** Copies a delta or fold whole. @param path  below the version */
export async function copyEpoch(files: CopiedFiles, path: string, signal: AbortSignal): Promise<void> {
  await files.provide(`${path}/${DELTA_MANIFEST_FILE}`, signal);
  const stored = await readDeltaManifest(join(files.directory, path));
  if (!stored) return;
  if (stored.manifest.segments.length > 0) await files.provide(`${path}/${DELTA_ROWS_FILE}`, signal);
  for (const file of stored.manifest.files) await provideProved(files, path, file, signal);
}

/**
 * Deltas of a copy that are whole and not in the store: a run that was cut off wrote them.
 *
 * @param directory  of the copy
 */
export async function unpublishedEpochs(directory: string, uri: string, stores: Stores, signal: AbortSignal) {
  const place = parseStoreUri(uri);
  const store = await stores.of(place);
  const unpublished: number[] = [];
  for (const epoch of await listEpochs(directory)) {
    const isWhole = await readDeltaManifest(join(directory, deltaPath(epoch)));
    const isThere = await store.find(place, `${deltaPath(epoch)}/${DELTA_MANIFEST_FILE}`, signal);
    if (isWhole && !isThere && !(await listFolds(directory)).some((fold) => fold >= epoch)) unpublished.push(epoch);
  }
  return unpublished;
}
