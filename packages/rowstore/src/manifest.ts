import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { invariant, ServingError } from "@shardserve/core";
import { KEY_HASH, PARTITION_COUNT_MAX } from "@shardserve/placement";
import { DTYPES, isNumeric, type NumericDType } from "@shardserve/tensor";
import { decodeMessage, encodeMessage } from "@shardserve/transport";
import { FieldReader } from "./manifest-fields.js";
import { digestHex } from "./partition-format.js";
import { partitionLayout, partitionPath } from "./partition-layout.js";
import { ROW_DTYPES, storedRowBytes, type TableInfo } from "./table-info.js";

/** Name of the manifest in a version directory. A directory without it is a plain SavedModel. */
export const MANIFEST_FILE = "shardserve.manifest";

/** A manifest names at most this many tables, lookups and files; it has at most {@link MANIFEST_BYTES_MAX} bytes. */
const TABLES_MAX = 0xffff;
const LOOKUPS_MAX = 2 ** 20;
const FILES_MAX = 2 ** 20;
const MANIFEST_BYTES_MAX = 256 * 2 ** 20;
const NAME_LENGTH_MAX = 4096;
const RANK_MAX = 16;

/** A gather of a table in a serving signature, for people and for checks; the executor finds lookups itself. */
export interface ManifestLookup {
  readonly signature: string;
  /** Node of the imported graph that gathers. */
  readonly node: string;
  /** Index into `tables`. */
  readonly table: number;
}

/** A file of the version directory, the manifest excepted. */
export interface ManifestFile {
  /** Relative to the version directory, with "/" between names. */
  readonly path: string;
  readonly bytes: number;
  /** 32 hex digits: of a partition file its partition digest, of any other file its `fileDigest`. */
  readonly digest: string;
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
  const refuse = (why: string, cause?: unknown) =>
    new ServingError("MANIFEST_INVALID", `${where}: ${why}; export the version anew`, { cause });
  let plain: unknown;
  try {
    plain = decodeMessage(bytes, "the manifest");
  } catch (error) {
    throw refuse((error as Error).message, error);
  }
  const fields = new FieldReader(plain, "", refuse);
  fields.oneOf("format", ["shardserve.manifest"]);
  fields.int("formatVersion", 1, 1);
  const manifest: Manifest = {
    writer: fields.text("writer", NAME_LENGTH_MAX),
    sourceDigest: fields.text("sourceDigest", 32, DIGEST),
    partitionCount: fields.int("partitionCount", 1, PARTITION_COUNT_MAX),
    tables: fields.list("tables", TABLES_MAX, (value, at) =>
      readTable(new FieldReader(value, `${at}.`, refuse), at, refuse),
    ),
    lookups: fields.list("lookups", LOOKUPS_MAX, (value, at) => readLookup(new FieldReader(value, `${at}.`, refuse))),
    files: fields.list("files", FILES_MAX, (value, at) => readManifestFile(new FieldReader(value, `${at}.`, refuse))),
  };
  fields.oneOf("partitioning", ["id-mod-count/1"]);
  fields.oneOf("keyHash", [KEY_HASH]);
  fields.end();
  checkManifest(manifest, refuse);
  return { manifest, digest: digestHex(bytes) };
}

const DIGEST = /^[0-9a-f]{32}$/;
const NUMERIC_DTYPES = (Object.keys(DTYPES) as (keyof typeof DTYPES)[]).filter(isNumeric) as NumericDType[];

function readTable(fields: FieldReader, where: string, refuse: (why: string) => Error): TableInfo {
  const name = fields.text("name", NAME_LENGTH_MAX);
  const checkpointKey = fields.text("checkpointKey", NAME_LENGTH_MAX);
  const rows = fields.int("rows", 0, Number.MAX_SAFE_INTEGER);
  const rowShape = fields.list("rowShape", RANK_MAX, (value, at) => {
    if (!Number.isSafeInteger(value) || (value as number) < 1) throw refuse(`${at} must be a positive integer`);
    return value as number;
  });
  const dtype = fields.oneOf("dtype", NUMERIC_DTYPES);
  const rowDtype = fields.oneOf("rowDtype", ROW_DTYPES);
  const rowBytes = fields.int("rowBytes", 1, 2 ** 31 - 1);
  const bytes = fields.int("bytes", 0, Number.MAX_SAFE_INTEGER);
  fields.end();
  const dim = rowShape.reduce((product, size) => product * size, 1);
  if (rowDtype !== "same" && dtype !== "float32") throw refuse(`${where}: only float32 rows can be ${rowDtype}`);
  if (rowBytes !== storedRowBytes(rowDtype, dtype, dim)) throw refuse(`${where}.rowBytes does not fit its row`);
  if (bytes !== rows * rowBytes) throw refuse(`${where}.bytes is not rows * rowBytes`);
  return { name, checkpointKey, rows, rowShape, dim, dtype, rowDtype, rowBytes };
}

function readLookup(fields: FieldReader): ManifestLookup {
  const lookup = {
    signature: fields.text("signature", NAME_LENGTH_MAX),
    node: fields.text("node", NAME_LENGTH_MAX),
    table: fields.int("table", 0, TABLES_MAX),
  };
  fields.end();
  return lookup;
}

function readManifestFile(fields: FieldReader): ManifestFile {
  const file = {
    path: fields.text("path", NAME_LENGTH_MAX),
    bytes: fields.int("bytes", 0, Number.MAX_SAFE_INTEGER),
    digest: fields.text("digest", 32, DIGEST),
  };
  fields.end();
  return file;
}

/** Rules between fields. */
function checkManifest(manifest: Manifest, refuse: (why: string) => Error): void {
  const { tables, lookups, files, partitionCount } = manifest;
  refuseDuplicates(tables, (table) => table.checkpointKey, "checkpointKey", refuse);
  refuseDuplicates(files, (file) => file.path, "path", refuse);
  for (const lookup of lookups) {
    if (lookup.table >= tables.length) throw refuse(`a lookup names table ${lookup.table} of ${tables.length}`);
  }
  for (const { path } of files) {
    const isInside = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
    if (!isInside || /[\\\0]/.test(path)) throw refuse(`${JSON.stringify(path)} leads out of the version directory`);
  }
  const partitionFiles = tables.length === 0 ? 0 : partitionCount;
  const byPath = new Map(files.map((file) => [file.path, file]));
  const found = files.filter((file) => file.path.startsWith("partitions/")).length;
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
  let size: number;
  try {
    ({ size } = await stat(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ServingError("MANIFEST_INVALID", `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (size > MANIFEST_BYTES_MAX) {
    throw new ServingError("MANIFEST_INVALID", `${path}: ${size} bytes are more than a manifest has; export anew`);
  }
  return decodeManifest(await readFile(path), path);
}

/** Writes a manifest and hands it to the disk. The caller renames the directory afterwards. @returns its digest */
export async function writeManifest(directory: string, manifest: Manifest): Promise<string> {
  const bytes = encodeManifest(manifest);
  const path = join(directory, MANIFEST_FILE);
  const { digest } = decodeManifest(bytes, path); // what cannot be read back is not written
  const handle = await open(path, "w");
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return digest;
}
