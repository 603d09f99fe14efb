import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import { PARTITION_COUNT_MAX } from "@shardserve/placement";
import { encodeMessage } from "@shardserve/transport";
import {
  DIGEST,
  type ManifestFile,
  openManifest,
  readFiles,
  readManifestBytes,
  type Refuse,
  TEXT_LENGTH_MAX,
  writeManifestBytes,
} from "../manifest/manifest-file.js";
import { DELTA_DENSE_DIR, DELTA_MANIFEST_FILE } from "./delta-paths.js";
import { digestHex } from "../partition/partition-format.js";
import type { TableInfo } from "../manifest/table-info.js";

const MANIFEST_BYTES_MAX = 64 * 2 ** 20;
const TABLES_MAX = 0xffff;
/** Sources of streamed updates that one version remembers. */
export const SOURCES_MAX = 4096;
/** Characters of a source's name. */
export const SOURCE_LENGTH_MAX = 256;

/** One delta as another one, or the registry, names it. */
export interface EpochRef {
  readonly epoch: number;
  /** Digest of the delta's manifest, 32 hex digits; of the version's own manifest for epoch 0. */
  readonly digest: string;
  /** Digest of the manifest of the fold that is read in the delta's place; absent = the delta is read. */
  readonly fold?: string;
}

/** What a delta does to one table. */
export interface DeltaTable {
  /** Rows of the table from this epoch on; never fewer than before. */
  readonly rows: number;
  /** Rows that this delta brings: changed and added ones. */
  readonly changed: number;
}

/** The changed rows of one partition, in the rows file. */
export interface DeltaSegment {
  readonly partition: number;
  readonly offset: number;
  readonly bytes: number;
  /** See segmentDigest: covers every byte of the segment whose blocks match their checksums. */
  readonly digest: string;
}

/** How far the updates of one source are in an epoch. */
export interface AppliedSource {
  readonly source: string;
  /** The last batch that is in; all before it are too. */
  readonly sequence: number;
}

/** What a delta consists of and what it follows. */
export interface DeltaManifest {
  readonly writer: string;
  readonly epoch: number;
  /** Identity of the version that the chain stands on. */
  readonly baseDigest: string;
  /** The delta before this one; {epoch 0, baseDigest} for the first. */
  readonly parent: EpochRef;
  /** Identifies the SavedModel that this epoch equals; {@link NO_SOURCE} when its rows were streamed and no SavedModel has them. */
  readonly sourceDigest: string;
  /** Wall clock at the end of the export, ms since the epoch: where freshness is counted from. */
  readonly createdAtMs: number;
  readonly partitionCount: number;
  /** One per table of the version, in its order. */
  readonly tables: readonly DeltaTable[];
  /** Ascending by partition; partitions without changed rows are left out. */
  readonly segments: readonly DeltaSegment[];
  /** Everything below `dense/`; [] = the dense part is the parent's. */
  readonly files: readonly ManifestFile[];
  /** Streamed updates in this epoch, of every source that ever sent any, by name; absent = as in the parent. */
  readonly applied?: readonly AppliedSource[];
  /**
   * Only of a fold, which has all rows that changed since the export in one file and so follows epoch 0: digest of the delta
   * of its epoch, whose place it takes.
   */
  readonly folded?: string;
}

/** The `sourceDigest` of an epoch that no SavedModel equals. */
export const NO_SOURCE = "0".repeat(32);

/** The manifest of a delta with its identity. */
export interface StoredDelta {
  readonly manifest: DeltaManifest;
  /**
   * The identity of the epoch, and through its parent's of all before it: xxh3-128 of the manifest file, and of a fold what
   * that was for the delta in whose place it stands.
   */
  readonly digest: string;
  /** Of a fold: xxh3-128 of its own manifest file. */
  readonly fold?: string;
}

/** A delta or fold that was read, as others name it. */
export function refOf({ manifest, digest, fold }: StoredDelta): EpochRef {
  return { epoch: manifest.epoch, digest, ...(fold !== undefined && { fold }) };
}

/** The bytes of the manifest file; the same for the same contents, as its digest is the epoch's identity. */
export function encodeDeltaManifest(manifest: DeltaManifest): Uint8Array {
  const {
    writer,
    epoch,
    baseDigest,
    parent,
    sourceDigest,
    createdAtMs,
    partitionCount,
    tables,
    segments,
    files,
    applied,
    folded,
  } = manifest;
  return new Uint8Array(
    encodeMessage({
      format: "shardserve.delta",
      formatVersion: 1,
      writer,
      epoch,
      baseDigest,
      parentEpoch: parent.epoch,
      parentDigest: parent.digest,
      sourceDigest,
      createdAtMs,
      partitionCount,
      tables: tables.map(({ rows, changed }) => ({ rows, changed })),
      segments: segments.map(({ partition, offset, bytes, digest }) => ({ partition, offset, bytes, digest })),
      files: files.map(({ path, bytes, digest }) => ({ path, bytes, digest })),
      ...(applied && { applied: applied.map(({ source, sequence }) => ({ source, sequence })) }),
      ...(folded !== undefined && { folded }),
    }),
  );
}

/** @throws ServingError DELTA_INVALID naming the field */
export function decodeDeltaManifest(bytes: Uint8Array, where: string): StoredDelta {
  const refuse = refusing(where);
  const fields = openManifest(bytes, "the manifest of a delta", "shardserve.delta", refuse);
  const epoch = fields.int("epoch", 1, Number.MAX_SAFE_INTEGER);
  const partitionCount = fields.int("partitionCount", 1, PARTITION_COUNT_MAX);
  const manifest: DeltaManifest = {
    writer: fields.text("writer", TEXT_LENGTH_MAX),
    epoch,
    baseDigest: fields.text("baseDigest", 32, DIGEST),
    parent: { epoch: fields.int("parentEpoch", 0, epoch - 1), digest: fields.text("parentDigest", 32, DIGEST) },
    sourceDigest: fields.text("sourceDigest", 32, DIGEST),
    createdAtMs: fields.int("createdAtMs", 0, Number.MAX_SAFE_INTEGER),
    partitionCount,
    tables: fields.records("tables", TABLES_MAX, (table) => {
      const rows = table.int("rows", 0, Number.MAX_SAFE_INTEGER);
      return { rows, changed: table.int("changed", 0, rows) };
    }),
    segments: fields.records("segments", partitionCount, (segment) => ({
      partition: segment.int("partition", 0, partitionCount - 1),
      offset: segment.int("offset", 0, Number.MAX_SAFE_INTEGER),
      bytes: segment.int("bytes", 1, Number.MAX_SAFE_INTEGER),
      digest: segment.text("digest", 32, DIGEST),
    })),
    files: readFiles(fields, refuse),
    ...(fields.has("applied") && {
      applied: fields.records("applied", SOURCES_MAX, (item) => ({
        source: item.text("source", SOURCE_LENGTH_MAX, /./),
        sequence: item.int("sequence", 1, Number.MAX_SAFE_INTEGER),
      })),
    }),
    ...(fields.has("folded") && { folded: fields.text("folded", 32, DIGEST) }),
  };
  fields.end();
  checkDelta(manifest, refuse);
  const digest = digestHex(bytes);
  return manifest.folded === undefined ? { manifest, digest } : { manifest, digest: manifest.folded, fold: digest };
}

const refusing =
  (where: string): Refuse =>
  (why, cause) =>
    new ServingError("DELTA_INVALID", `${where}: ${why}; copy the delta again or export it anew`, { cause });

/** Rules between fields. */
function checkDelta(
  { segments, files, parent, baseDigest, applied = [], folded }: DeltaManifest,
  refuse: (why: string) => Error,
): void {
  if (folded !== undefined && parent.epoch !== 0) throw refuse(`it is a fold and follows epoch ${parent.epoch}`);
  if (new Set(applied.map(({ source }) => source)).size < applied.length) throw refuse("it names a source twice");
  let end = 0;
  segments.forEach(({ partition, offset, bytes }, i) => {
    if (i > 0 && partition <= segments[i - 1]!.partition) throw refuse("its segments are out of order");
    if (offset < end) throw refuse(`the segment of partition ${partition} overlaps the one before`);
    end = offset + bytes;
    if (!Number.isSafeInteger(end)) throw refuse("its segments exceed 2^53 bytes");
  });
  for (const { path } of files) {
    if (!path.startsWith(`${DELTA_DENSE_DIR}/`))
      throw refuse(`${JSON.stringify(path)} does not lie in ${DELTA_DENSE_DIR}/`);
  }
  if (parent.epoch === 0 && parent.digest !== baseDigest) throw refuse("it follows epoch 0 of another version");
}

/**
 * Reads the manifest of a delta's directory.
 *
 * @returns undefined when the directory has none: the delta is not there, or not whole yet
 * @throws ServingError DELTA_INVALID
 */
export async function readDeltaManifest(directory: string): Promise<StoredDelta | undefined> {
  const path = join(directory, DELTA_MANIFEST_FILE);
  const bytes = await readManifestBytes(path, MANIFEST_BYTES_MAX, refusing(path));
  return bytes && decodeDeltaManifest(bytes, path);
}

/** Writes the manifest of a delta and hands it to the disk. The caller renames the directory afterwards. @returns its identity */
export async function writeDeltaManifest(directory: string, manifest: DeltaManifest): Promise<EpochRef> {
  const bytes = encodeDeltaManifest(manifest);
  const path = join(directory, DELTA_MANIFEST_FILE);
  const stored = decodeDeltaManifest(bytes, path); // what cannot be read back is not written
  await writeManifestBytes(path, bytes);
  return refOf(stored);
}

/** The version's tables as they are at a delta's epoch: some may have grown. */
export function tablesAt(tables: readonly TableInfo[], delta: DeltaManifest | undefined): readonly TableInfo[] {
  return delta ? tables.map((table, i) => ({ ...table, rows: delta.tables[i]!.rows })) : tables;
}
