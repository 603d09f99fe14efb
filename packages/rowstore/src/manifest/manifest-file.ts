/**
 * What the manifests of versions and of deltas have in common: one self-describing message in a file of its own, written
 * last, so that a directory which has it is whole; its digest identifies all that it names.
 */
import { open, readFile, stat } from "node:fs/promises";
import { ServingError } from "@shardserve/core";
import { decodeMessage } from "@shardserve/transport";
import { FieldReader } from "./manifest-fields.js";

/** Longest path or name in a manifest. */
export const TEXT_LENGTH_MAX = 4096;
/** Most files that a manifest lists. */
const FILES_MAX = 2 ** 20;
/** xxh3-128 as text. */
export const DIGEST = /^[0-9a-f]{32}$/;

/** Makes the error for a manifest that is refused. */
export type Refuse = (why: string, cause?: unknown) => ServingError;

/** A file that a manifest lists. */
export interface ManifestFile {
  /** Relative to the directory of the manifest, with "/" between names. */
  readonly path: string;
  readonly bytes: number;
  /** 32 hex digits: of a partition file its partition digest, of any other file its `fileDigest`. */
  readonly digest: string;
}

/** Begins to read a manifest: what it is, and in a version that we know. @param what  names it in errors */
export function openManifest(bytes: Uint8Array, what: string, format: string, refuse: Refuse): FieldReader {
  let plain: unknown;
  try {
    plain = decodeMessage(bytes, what);
  } catch (error) {
    throw refuse((error as Error).message, error);
  }
  const fields = new FieldReader(plain, "", refuse);
  fields.oneOf("format", [format]);
  fields.int("formatVersion", 1, 1);
  return fields;
}

/** Reads the list of files, each of which must lie inside the directory. */
export function readFiles(fields: FieldReader, refuse: Refuse): ManifestFile[] {
  return fields.records("files", FILES_MAX, (file) => {
    const read = {
      path: file.text("path", TEXT_LENGTH_MAX),
      bytes: file.int("bytes", 0, Number.MAX_SAFE_INTEGER),
      digest: file.text("digest", 32, DIGEST),
    };
    const isInside = read.path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
    if (!isInside || /[\\\0]/.test(read.path)) throw refuse(`${JSON.stringify(read.path)} leads out of the directory`);
    return read;
  });
}

/**
 * @param bytesMax  a larger file is refused unread
 * @returns undefined when there is no such file: what it would complete is not there, or not whole yet
 * @throws what `refuse` makes
 */
export async function readManifestBytes(
  path: string,
  bytesMax: number,
  refuse: Refuse,
): Promise<Uint8Array | undefined> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax) throw refuse(`${size} bytes are more than such a file has`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof ServingError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw refuse(`it cannot be read: ${message}`, error);
  }
}

/** Writes a manifest and hands it to the disk. The caller renames the directory afterwards. */
export async function writeManifestBytes(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, "w");
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
