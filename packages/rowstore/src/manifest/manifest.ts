import { join } from "node:path";
import { invariant, ServingError } from "@shardserve/core";
import { KEY_HASH, PARTITION_COUNT_MAX } from "@shardserve/placement";
import { DTYPES, isNumeric, type NumericDType } from "@shardserve/tensor";
import { encodeMessage } from "@shardserve/transport";
import type { FieldReader } from "./manifest-fields.js";
import {
  DIGEST,
  type ManifestFile,
  openManifest,
  readFiles,
  readManifestBytes,
  type Refuse,
  TEXT_LENGTH_MAX,
  writeManifestBytes,
} from "./manifest-file.js";
import { digestHex } from "../partition/partition-format.js";
import { isPartitionPath, partitionLayout, partitionPath } from "../partition/partition-layout.js";
import { ROW_DTYPES, storedRowBytes, type TableInfo } from "./table-info.js";

/** Name of the manifest in a version directory. A directory without it is a plain SavedModel. */
export const MANIFEST_FILE = "shardserve.manifest";

/** A manifest names at most this many tables and lookups; it has at most {@link MANIFEST_BYTES_MAX} bytes. */
const TABLES_MAX = 0xffff;
const LOOKUPS_MAX = 2 ** 20;
const MANIFEST_BYTES_MAX = 256 * 2 ** 20;
const RANK_MAX = 16;

/** A gather of a table in a serving signature, for people and for checks; the executor finds lookups itself. */
export interface ManifestLookup {
  readonly signature: string;
  /** Node of the imported graph that gathers. */
  readonly node: string;
  /** Index into `tables`. */
  readonly table: number;
}

/** What a version consists of. Written last, so a directory with a manifest is whole. */
export interface Manifest {
  /** Program that wrote it, "shardserve 0.1.0"; informational. */
  readonly writer: string;
  /** 32 hex digits that identify the exported SavedModel's content. */
  readonly sourceDigest: string;
  readonly partitionCount: number;
  readonly tables: readonly TableInfo[];
  readonly lookups: readonly ManifestLookup[];
  /** Every file of the version, partition files among them, once each. */
  readonly files: readonly ManifestFile[];
}

/** A manifest and what identifies it. */
export interface StoredManifest {
  readonly manifest: Manifest;
  /** xxh3-128 of the manifest file, 32 hex digits: the identity of the version. */
  readonly digest: string;
}

/** @returns the bytes of a manifest file: docs/formats.md, "Manifest" */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const { writer, sourceDigest, partitionCount, tables, lookups, files } = manifest;
  const bytes = encodeMessage({
    format: "shardserve.manifest",
    formatVersion: 1,
    writer,
    sourceDigest,
    partitionCount,
    partitioning: "id-mod-count/1",
    keyHash: KEY_HASH,
    tables: tables.map((table) => ({
      name: table.name,
      checkpointKey: table.checkpointKey,
      rows: table.rows,
      rowShape: [...table.rowShape],
      dtype: table.dtype,
      rowDtype: table.rowDtype,
      rowBytes: table.rowBytes,
      bytes: table.rows * table.rowBytes,
    })),
    lookups: lookups.map(({ signature, node, table }) => ({ signature, node, table })),
    files: files.map(({ path, bytes: size, digest }) => ({ path, bytes: size, digest })),
  });
  return new Uint8Array(bytes); // the encoder's buffer is larger and shared
}

/**
 * Reads a manifest, believing nothing: every field is checked, against the others too, and unknown ones are refused.
 *
 * @param where  names the manifest in errors
 * @throws ServingError MANIFEST_INVALID naming the field
 */
export function decodeManifest(bytes: Uint8Array, where: string): StoredManifest {
  const refuse = refusing(where);
  const fields = openManifest(bytes, "the manifest", "shardserve.manifest", refuse);
  const manifest: Manifest = {
    writer: fields.text("writer", TEXT_LENGTH_MAX),
    sourceDigest: fields.text("sourceDigest", 32, DIGEST),
    partitionCount: fields.int("partitionCount", 1, PARTITION_COUNT_MAX),
    tables: fields.records("tables", TABLES_MAX, (table, at) => readTable(table, at, refuse)),
    lookups: fields.records("lookups", LOOKUPS_MAX, readLookup),
    files: readFiles(fields, refuse),
  };
  fields.oneOf("partitioning", ["id-mod-count/1"]);
  fields.oneOf("keyHash", [KEY_HASH]);
  fields.end();
  checkManifest(manifest, refuse);
  return { manifest, digest: digestHex(bytes) };
}

const refusing =
  (where: string): Refuse =>
  (why, cause) =>
    new ServingError("MANIFEST_INVALID", `${where}: ${why}; export the version anew`, { cause });

const NUMERIC_DTYPES = (Object.keys(DTYPES) as (keyof typeof DTYPES)[]).filter(isNumeric) as NumericDType[];

function readTable(fields: FieldReader, where: string, refuse: (why: string) => Error): TableInfo {
  const name = fields.text("name", TEXT_LENGTH_MAX);
  const checkpointKey = fields.text("checkpointKey", TEXT_LENGTH_MAX);
  const rows = fields.int("rows", 0, Number.MAX_SAFE_INTEGER);
  const rowShape = fields.list("rowShape", RANK_MAX, (value, at) => {
    if (!Number.isSafeInteger(value) || (value as number) < 1) throw refuse(`${at} must be a positive integer`);
    return value as number;
  });
  const dtype = fields.oneOf("dtype", NUMERIC_DTYPES);
  const rowDtype = fields.oneOf("rowDtype", ROW_DTYPES);
  const rowBytes = fields.int("rowBytes", 1, 2 ** 31 - 1);
  const bytes = fields.int("bytes", 0, Number.MAX_SAFE_INTEGER);
  const dim = rowShape.reduce((product, size) => product * size, 1);
  if (rowDtype !== "same" && dtype !== "float32") throw refuse(`${where}: only float32 rows can be ${rowDtype}`);
  if (rowBytes !== storedRowBytes(rowDtype, dtype, dim)) throw refuse(`${where}.rowBytes does not fit its row`);
  if (bytes !== rows * rowBytes) throw refuse(`${where}.bytes is not rows * rowBytes`);
  return { name, checkpointKey, rows, rowShape, dim, dtype, rowDtype, rowBytes };
}

function readLookup(fields: FieldReader): ManifestLookup {
  return {
    signature: fields.text("signature", TEXT_LENGTH_MAX),
    node: fields.text("node", TEXT_LENGTH_MAX),
    table: fields.int("table", 0, TABLES_MAX),
  };
}

/** Rules between fields. */
function checkManifest(manifest: Manifest, refuse: (why: string) => Error): void {
  const { tables, lookups, files, partitionCount } = manifest;
  refuseDuplicates(tables, (table) => table.checkpointKey, "checkpointKey", refuse);
  refuseDuplicates(files, (file) => file.path, "path", refuse);
  for (const lookup of lookups) {
    if (lookup.table >= tables.length) throw refuse(`a lookup names table ${lookup.table} of ${tables.length}`);
  }
  const partitionFiles = tables.length === 0 ? 0 : partitionCount;
  const byPath = new Map(files.map((file) => [file.path, file]));
  const found = files.filter((file) => isPartitionPath(file.path)).length;
  if (found !== partitionFiles) throw refuse(`it lists ${found} partition files, ${partitionFiles} are needed`);
  if (partitionFiles === 0) return;
  const total = tables.reduce((sum, table) => sum + Math.ceil(table.rows / partitionCount) * table.rowBytes, 0);
  if (!Number.isSafeInteger(total * partitionCount)) throw refuse("its tables exceed 2^53 bytes");
  const { fileBytes } = partitionLayout(tables, partitionCount);
  for (let partition = 0; partition < partitionFiles; partition++) {
    const file = byPath.get(partitionPath(partition));
    if (!file) throw refuse(`${partitionPath(partition)} is missing`);
    if (file.bytes !== fileBytes) throw refuse(`${file.path} has ${file.bytes} bytes, its tables need ${fileBytes}`);
  }
}

function refuseDuplicates<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  what: string,
  refuse: (why: string) => Error,
): void {
  const seen = new Set<string>();
  for (const item of items) {
    if (seen.has(keyOf(item))) throw refuse(`two entries have the ${what} ${JSON.stringify(keyOf(item))}`);
    seen.add(keyOf(item));
  }
}

/** Digest of a partition's file. */
export function partitionDigestOf(manifest: Manifest, partition: number): string {
  let byPath = digestsByPath.get(manifest);
  if (!byPath) digestsByPath.set(manifest, (byPath = new Map(manifest.files.map((file) => [file.path, file.digest]))));
  const digest = byPath.get(partitionPath(partition));
  invariant(digest !== undefined, `the manifest has no partition ${partition}`);
  return digest;
}

/** Thousands of partitions are looked up one by one. */
const digestsByPath = new WeakMap<Manifest, ReadonlyMap<string, string>>();

/**
 * Reads the manifest of a version directory.
 *
 * @returns undefined when the directory has none: it is a plain SavedModel
 * @throws ServingError MANIFEST_INVALID
 */
export async function readManifest(directory: string): Promise<StoredManifest | undefined> {
  const path = join(directory, MANIFEST_FILE);
  const bytes = await readManifestBytes(path, MANIFEST_BYTES_MAX, refusing(path));
  return bytes && decodeManifest(bytes, path);
}

/** Writes a manifest and hands it to the disk. The caller renames the directory afterwards. @returns its digest */
export async function writeManifest(directory: string, manifest: Manifest): Promise<string> {
  const bytes = encodeManifest(manifest);
  const path = join(directory, MANIFEST_FILE);
  const { digest } = decodeManifest(bytes, path); // what cannot be read back is not written
  await writeManifestBytes(path, bytes);
  return digest;
}
