import { open, readdir, readFile, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { isServingError, type Progress, type ProgressTask, ServingError, silentProgress } from "@shardserve/core";
import { type ObjectStore, parseStoreUri, type StoreUri, type Stores, type Upload } from "@shardserve/object-store";
import { digestHex } from "@shardserve/rowstore";

/** What says that an upload was begun, and of what: its content is the digest of the manifest that is to come. Removed at the end. */
export const CLAIM_FILE = "shardserve.upload";
/** Files that are put at the same time. */
const PUTS_MAX = 4;
/** What makes servers take a folder for a model; put after all else but the manifest. */
const GRAPH = /^(saved_model\.pb|model\.onnx)$/;

export interface PublishOptions {
  readonly stores: Stores;
  /** Where the version or delta is to be. */
  readonly uri: string;
  /** Name of the manifest in the directory. */
  readonly manifest: string;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

export interface Published {
  /** Of the manifest file; what every object was put with. */
  readonly digest: string;
  /** Bytes sent by this call; the others were there already. */
  readonly sentBytes: number;
}

/** Where an upload goes, and what its objects are put with. */
interface Target {
  readonly store: ObjectStore;
  readonly place: StoreUri;
  readonly uri: string;
  readonly digest: string;
  readonly signal: AbortSignal | undefined;
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
  const { stores, uri, manifest, signal, progress = silentProgress } = options;
  const place = parseStoreUri(uri);
  const store = await stores.of(place);
  const digest = digestHex(await readFile(join(dir, manifest)));
  const target: Target = { store, place, uri, digest, signal };
  if (await isPublished(target, manifest)) {
    await store.remove(place, CLAIM_FILE, signal);
    return { digest, sentBytes: 0 };
  }
  await claim(target);
  const files = (await filesOf(dir)).filter(({ path }) => path !== manifest);
  const task = progress.task(
    "uploading",
    files.reduce((sum, { bytes }) => sum + bytes, 0),
    "bytes",
  );
  const missing = await withoutThose(target, files, task);
  const sender = { dir, target, task, sentBytes: 0 };
  await putAll(
    sender,
    missing.filter(({ path }) => !GRAPH.test(path)),
  );
  await putAll(
    sender,
    missing.filter(({ path }) => GRAPH.test(path)),
  );
  const bytes = await readFile(join(dir, manifest));
  await putNew(target, manifest, bytes);
  if (!(await isPublished(target, manifest)))
    throw new ServingError("UNAVAILABLE", `${uri}/${manifest} was put and is not there`);
  await store.remove(place, CLAIM_FILE, signal);
  task.done();
  return { digest, sentBytes: sender.sentBytes + bytes.length };
}

/** @throws ServingError OUTPUT_EXISTS when another manifest is there */
async function isPublished({ store, place, uri, digest, signal }: Target, manifest: string): Promise<boolean> {
  const found = await store.find(place, manifest, signal);
  if (!found) return false;
  if (found.digest === digest) return true;
  throw new ServingError("OUTPUT_EXISTS", `${uri} exists and is never overwritten; choose another version number`);
}

/** Makes sure that nobody puts something else in the same place. @throws ServingError OUTPUT_EXISTS when somebody does */
async function claim(target: Target): Promise<void> {
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
async function putNew({ store, place, digest, signal }: Target, path: string, contents: Uint8Array): Promise<void> {
  const read: Upload["read"] = async ({ offset, length }) => contents.subarray(offset, offset + length);
  try {
    await store.put(place, path, { bytes: contents.length, digest, read, isNew: true }, signal);
  } catch (error) {
    if (!isServingError(error, "FAILED_PRECONDITION")) throw error;
  }
}

interface LocalFile {
  readonly path: string;
  readonly bytes: number;
}

/** Regular files below a directory, with paths relative to it. */
async function filesOf(dir: string): Promise<LocalFile[]> {
  const files: LocalFile[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push({ path: relative(dir, path).split(sep).join("/"), bytes: (await stat(path)).size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Those files that an earlier call did not put. */
async function withoutThose(
  { store, place, digest, signal }: Target,
  files: readonly LocalFile[],
  task: ProgressTask,
): Promise<LocalFile[]> {
  const listed = new Map((await store.objects(place, signal)).map(({ path, bytes }) => [path, bytes]));
  const missing: LocalFile[] = [];
  await inParallel(files, async (file) => {
    const isThere =
      listed.get(file.path) === file.bytes && (await store.find(place, file.path, signal))?.digest === digest;
    if (isThere) task.advance(file.bytes);
    else missing.push(file);
  });
  return missing;
}

interface Sender {
  readonly dir: string;
  readonly target: Target;
  readonly task: ProgressTask;
  sentBytes: number;
}

async function putAll(sender: Sender, files: readonly LocalFile[]): Promise<void> {
  const { dir, target, task } = sender;
  const { store, place, digest, signal } = target;
  await inParallel(files, async ({ path, bytes }) => {
    await using handle = await open(join(dir, path));
    const read: Upload["read"] = async ({ offset, length }) => {
      const piece = Buffer.allocUnsafeSlow(length);
      const { bytesRead } = await handle.read(piece, 0, length, offset);
      if (bytesRead === length) return piece;
      throw new ServingError("CHECKSUM_MISMATCH", `${join(dir, path)} became shorter while it was put`);
    };
    const onSent = (sentBytes: number) => {
      sender.sentBytes += sentBytes;
      task.advance(sentBytes);
    };
    await store.put(place, path, { bytes, digest, read, onSent }, signal);
  });
}

/** Calls for each item, a few at a time; after a failure nothing is begun any more. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const workers = Array.from({ length: PUTS_MAX }, async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  });
  try {
    await Promise.all(workers);
  } catch (error) {
    waiting.length = 0;
    await Promise.allSettled(workers);
    throw error;
  }
}
