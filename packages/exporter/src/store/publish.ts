import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Clock,
  inParallel,
  isServingError,
  type Logger,
  type Progress,
  type ProgressTask,
  ServingError,
  silentLogger,
  silentProgress,
  systemClock,
} from "@shardserve/core";
import { parseStoreUri, type Stores, type Upload } from "@shardserve/object-store";
import { digestHex } from "@shardserve/rowstore";
import { filesBelow, type LocalFile } from "../files-below.js";
import { putFiles, PUTS_MAX, type PutTarget } from "./put-files.js";

/** What says that an upload was begun, and of what: its content is the digest of the manifest that is to come. Removed at the end. */
const CLAIM_FILE = "shardserve.upload";
/** What makes servers take a folder for a model; put after all else but the manifest. */
const GRAPH = /^(saved_model\.pb|model\.onnx)$/;

/** What is published where. The manifest is put last: whoever finds it finds the rest. */
export interface PublishOptions {
  readonly stores: Stores;
  /** Where the version or delta is to be. */
  readonly uri: string;
  /** Name of the manifest in the directory. */
  readonly manifest: string;
  readonly progress?: Progress;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** What publishing a version or delta has put into the store. */
export interface Published {
  /** Of the manifest file; what every object was put with. */
  readonly digest: string;
  /** Bytes sent by this call; the others were there already. */
  readonly sentBytes: number;
}

/**
 * Puts a whole version or delta into an object store: everything else first, its manifest last, so that what is there is whole or
 * is none. Every object is put with the digest of that manifest. A call that was cut off, even by a kill, is repeated: what is there
 * with the same digest and length is not sent again.
 *
 * @param dir  of the version or delta, whole
 * @throws ServingError OUTPUT_EXISTS when another is there, or is being put there; what the store's client reports; the signal's reason
 */
export async function publish(dir: string, options: PublishOptions): Promise<Published> {
  const { stores, uri, manifest, signal } = options;
  const { progress = silentProgress, logger = silentLogger, clock = systemClock } = options;
  const place = parseStoreUri(uri);
  const store = await stores.of(place);
  const digest = digestHex(await readFile(join(dir, manifest)));
  const target: PutTarget = { store, place, uri, digest, signal, clock, logger };
  if (await isPublished(target, manifest)) {
    await store.remove(place, CLAIM_FILE, signal);
    return { digest, sentBytes: 0 };
  }
  await claim(target);
  const files = (await filesBelow(dir)).filter(({ path }) => path !== manifest);
  const task = progress.task(
    "uploading",
    files.reduce((sum, { bytes }) => sum + bytes, 0),
    "bytes",
  );
  const missing = await withoutThose(target, files, task);
  const isGraph = ({ path }: LocalFile) => GRAPH.test(path);
  const others = missing.filter((file) => !isGraph(file));
  const sentBytes = await putFiles(dir, others, target, task);
  const graphBytes = await putFiles(dir, missing.filter(isGraph), target, task);
  const bytes = await readFile(join(dir, manifest));
  await putNew(target, manifest, bytes);
  if (!(await isPublished(target, manifest)))
    throw new ServingError("UNAVAILABLE", `${uri}/${manifest} was put and is not there`);
  await store.remove(place, CLAIM_FILE, signal);
  task.done();
  return { digest, sentBytes: sentBytes + graphBytes + bytes.length };
}

/** @throws ServingError OUTPUT_EXISTS when another manifest is there */
async function isPublished({ store, place, uri, digest, signal }: PutTarget, manifest: string): Promise<boolean> {
  const found = await store.find(place, manifest, signal);
  if (!found) return false;
  if (found.digest === digest) return true;
  throw new ServingError("OUTPUT_EXISTS", `${uri} exists and is never overwritten; choose another version number`);
}

/** Makes sure that nobody puts something else in the same place. @throws ServingError OUTPUT_EXISTS when somebody does */
async function claim(target: PutTarget): Promise<void> {
  const { store, place, uri, digest, signal } = target;
  if (!(await store.find(place, CLAIM_FILE, signal))) await putNew(target, CLAIM_FILE, Buffer.from(digest));
  // Looked at again: where a store does not know conditions, the last one to put it goes on.
  const found = await store.find(place, CLAIM_FILE, signal);
  if (found?.digest === digest) return;
  throw new ServingError(
    "OUTPUT_EXISTS",
    `another export is being put to ${uri}, or was and was given up (its digest ${found?.digest ?? "is not known"}, ours ${digest}); ` +
      `choose another version number, or when nobody works on it remove what is below ${uri}/`,
  );
}

/** Puts an object unless one is there; the caller looks whose it is. */
async function putNew({ store, place, digest, signal }: PutTarget, path: string, contents: Uint8Array): Promise<void> {
  const read: Upload["read"] = async ({ offset, length }) => contents.subarray(offset, offset + length);
  try {
    await store.put(place, path, { bytes: contents.length, digest, read, isNew: true }, signal);
  } catch (error) {
    if (!isServingError(error, "FAILED_PRECONDITION")) throw error;
  }
}

/** Those files that an earlier call did not put. */
async function withoutThose(
  { store, place, digest, signal }: PutTarget,
  files: readonly LocalFile[],
  task: ProgressTask,
): Promise<LocalFile[]> {
  const listed = new Map((await store.objects(place, signal)).map(({ path, bytes }) => [path, bytes]));
  const missing: LocalFile[] = [];
  await inParallel(files, PUTS_MAX, async (file) => {
    const isThere =
      listed.get(file.path) === file.bytes && (await store.find(place, file.path, signal))?.digest === digest;
    if (isThere) task.advance(file.bytes);
    else missing.push(file);
  });
  return missing;
}
