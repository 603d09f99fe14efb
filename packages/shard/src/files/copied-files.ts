import { type FileHandle, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type BytePace, exists, type Logger, ServingError } from "@shardserve/core";
import {
  DELTA_ROWS_FILE,
  type DeltaSegment,
  MANIFEST_FILE,
  partitionPath,
  readManifest,
  segmentFile,
  type StoredManifest,
} from "@shardserve/rowstore";
import { type FileSource, type OpenSource, PIECE_BYTES, sliceOf } from "./file-source.js";
import { removeOutdated } from "./outdated-copies.js";
import type { VersionFiles } from "./version-files.js";

/** Of one version whose files are copied before they are mapped. */
export interface CopiedFilesOptions {
  /** Version directory on this shard's own disk. */
  readonly directory: string;
  /** Shards that may have a file, best first; empty when none is known to. */
  readonly peers: (path: string) => readonly FileSource[];
  readonly repository: FileSource;
  /** What to do where the disk is full: it ends the error's text. */
  readonly roomCure: string;
  /** After each copy, with what came of it now. */
  readonly onCopied: (from: FileSource["kind"], bytes: number) => void;
  readonly logger: Logger;
}

interface CopyOptions {
  readonly pace?: BytePace;
  /** Whether it is on the disk for good before it counts. */
  readonly isSynced: boolean;
}

/** One of the places that a file can be copied from. */
interface Way {
  readonly source: FileSource;
  readonly open: () => Promise<OpenSource>;
}

/**
 * Files of a version that are copied to this shard's own disk before they are used: partition files from a shard that serves
 * them, where there is one, else from the repository; deltas, which all shards read at the same time, the other way round. So
 * a repository that is slow or away keeps no partition from moving, and a shard that starts reads its own disk. Of a delta only
 * the rows of the shard's own partitions are copied.
 *
 * A copy grows beside its place and goes on where it was cut off, whoever gives the rest: files never change, and readers
 * prove them by digest and block. The manifest is small and asked for anew each time.
 */
export class CopiedFiles implements VersionFiles {
  readonly directory: string;
  readonly areSegmentsFiles = true;
  readonly #options: CopiedFilesOptions;
  /** Who gave a file last. */
  readonly #givers = new Map<string, string>();
  /** By path, who gave what was refused; the last one last. */
  readonly #distrusted = new Map<string, Set<string>>();
  /** The manifest that the copies here are of; undefined = nobody knows, null = not looked at yet. */
  #copiedOf: StoredManifest | undefined | null = null;

  constructor(options: CopiedFilesOptions) {
    this.directory = options.directory;
    this.#options = options;
  }

  async provide(path: string, signal: AbortSignal, pace?: BytePace): Promise<void> {
    // One that cannot be read tells nothing of the copies: each is proved by its reader.
    if (path === MANIFEST_FILE && this.#copiedOf === null)
      this.#copiedOf = await readManifest(this.directory).catch(() => undefined);
    const ways = this.#trusted(path, this.#sources(path)).map((source) => ({
      source,
      open: () => source.open(path, signal),
    }));
    await this.#provide(path, ways, signal, { isSynced: true, ...(pace && { pace }) });
  }

  async provideSegment(folder: string, segment: DeltaSegment, signal: AbortSignal): Promise<void> {
    const { partition, offset, bytes } = segment;
    const path = `${folder}/${segmentFile(partition)}`;
    const { repository, peers } = this.#options;
    const slice = async (source: FileSource) =>
      sliceOf(await source.open(`${folder}/${DELTA_ROWS_FILE}`, signal), offset, bytes);
    const holders = peers(partitionPath(partition));
    const ways = this.#trusted(path, [repository, ...holders]).flatMap((source): Way[] => [
      ...(source === repository ? [] : [{ source, open: () => source.open(path, signal) }]),
      { source, open: () => slice(source) }, // a shard that reads in the repository has the rows file
    ]);
    // There are many, and a stream brings more each second: one that a power cut tore is refused by its digest, and copied again.
    await this.#provide(path, ways, signal, { isSynced: false });
  }

  async #provide(path: string, ways: readonly Way[], signal: AbortSignal, how: CopyOptions): Promise<void> {
    const target = join(this.directory, path);
    const isThere = await exists(target);
    if (isThere && path !== MANIFEST_FILE) return;
    const failures: string[] = [];
    for (const way of ways) {
      try {
        await this.#copy(way, path, signal, how);
        this.#givers.set(path, way.source.name);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const { code, message } = ServingError.from(error);
        // It is this disk that is full, whoever gives the file.
        if (code === "DISK_FULL")
          throw new ServingError(code, `${target}: ${message}; ${this.#options.roomCure}`, { cause: error });
        failures.push(`${way.source.name}: ${message}`);
      }
    }
    if (isThere) return; // a manifest that was right when it was copied; the leader compares its digest
    throw new ServingError("UNAVAILABLE", `${target} cannot be copied; ${failures.join("; ")}`);
  }

  async dropOutdated(stored: StoredManifest): Promise<void> {
    const before = this.#copiedOf;
    this.#copiedOf = stored;
    if (!before || before.digest === stored.digest) return;
    const outdated = await removeOutdated(this.directory, before.manifest, stored.manifest);
    const { directory, logger } = this.#options;
    logger.info({ path: directory, outdated }, "the version was exported anew: copies of the files that changed go");
  }

  async discard(path: string): Promise<void> {
    await this.forget(path);
    const giver = this.#givers.get(path);
    if (giver === undefined) return; // it lay here already
    const distrusted = this.#distrusted.get(path) ?? new Set();
    distrusted.delete(giver); // the last one who was refused comes last
    this.#distrusted.set(path, distrusted.add(giver));
  }

  async forget(path: string): Promise<void> {
    for (const name of [path, `${path}.part`]) await rm(join(this.directory, name), { force: true });
  }

  async keepOnly(folder: string, paths: readonly string[]): Promise<void> {
    const kept = new Set(paths);
    const names = await readdir(join(this.directory, folder)).catch(() => []); // there are none
    for (const name of names) {
      const path = `${folder}/${name}`;
      if (kept.has(path) || kept.has(path.replace(/\.part$/, ""))) continue;
      await rm(join(this.directory, path), { recursive: true, force: true });
    }
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  /** In the order in which they are asked. */
  #sources(path: string): FileSource[] {
    const peers = this.#options.peers(path);
    const { repository } = this.#options;
    const isOfAll = path.startsWith("deltas/") || path.startsWith("folds/");
    return isOfAll ? [repository, ...peers] : [...peers, repository];
  }

  /** Those who gave something wrong come last, whoever did so last behind the others: all of them are asked in turn. */
  #trusted(path: string, sources: readonly FileSource[]): readonly FileSource[] {
    const distrusted = this.#distrusted.get(path);
    if (!distrusted) return sources;
    const order = [...distrusted];
    return sources.toSorted((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  }

  async #copy(
    { source, open: openSource }: Way,
    path: string,
    signal: AbortSignal,
    { pace, isSynced }: CopyOptions,
  ): Promise<void> {
    const target = join(this.directory, path);
    await mkdir(dirname(target), { recursive: true });
    await using opened = await openSource();
    const part = await open(`${target}.part`, "a+");
    let bytes = 0;
    try {
      const pieceBytes = Math.min(PIECE_BYTES, pace?.pieceBytes ?? PIECE_BYTES);
      bytes = await append(part, opened.size, pieceBytes, async (offset, length) => {
        await pace?.take(length, signal);
        return opened.read(offset, length);
      });
      if (isSynced) await part.sync();
    } finally {
      await part.close();
    }
    await rename(`${target}.part`, target);
    this.#options.onCopied(source.kind, bytes);
    this.#options.logger.debug({ path: target, from: source.name, bytes }, "file copied");
  }
}

/** Writes what is missing behind what is there. @returns how many bytes that was */
async function append(
  part: FileHandle,
  size: number,
  pieceBytes: number,
  read: (offset: number, length: number) => Promise<Uint8Array>,
): Promise<number> {
  let { size: at } = await part.stat();
  if (at > size) await part.truncate((at = 0)); // of another file
  const first = at;
  while (at < size) {
    const piece = await read(at, Math.min(pieceBytes, size - at));
    if (piece.length === 0) throw new ServingError("UNAVAILABLE", `it ends at ${at} of ${size} bytes`);
    await part.appendFile(piece);
    at += piece.length;
  }
  return size - first;
}
