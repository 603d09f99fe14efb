import { createHash } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import {
  BytePace,
  type Clock,
  exists,
  inParallel,
  type Logger,
  ProcessLock,
  ServingError,
  silentLogger,
  systemClock,
} from "@shardserve/core";
import { bytesBelow, diskError, isFinished, writeFile } from "./cached-files.js";
import type { StoredObject } from "./object-store.js";
import { parseStoreUri } from "./store-uri.js";
import type { Stores } from "./stores.js";

/** Objects of a version that are read at once. */
const READS_MAX = 4;
const FINISHED = /^[0-9a-f]{32}$/;
const PARTIAL = ".partial";

/** For {@link VersionCache}: the folder of copies and its limit. */
export interface VersionCacheOptions {
  readonly stores: Stores;
  /** Folder of this process alone; made where it is missing. */
  readonly dir: string;
  /** Bytes of all versions in the folder. Those that are loaded stay whatever it says. */
  readonly limitBytes: number;
  /** Rate of all downloads together, default not limited. */
  readonly bytesPerSecond?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** A version on this machine's disk. */
export interface HeldVersion {
  readonly dir: string;
  /** It may be removed from now on. */
  readonly release: () => void;
  /**
   * Releases a version whose files cannot be loaded: they are downloaded anew when it is wanted next. Once for each version, for
   * what is damaged in the store itself would be downloaded with each try. What cannot be removed is logged, never thrown: the
   * caller has an error to tell already.
   */
  readonly discard: () => Promise<void>;
}

/** A version that is asked for, as its store lists it. */
interface Wanted {
  readonly uri: string;
  readonly digest: string;
  readonly objects: readonly StoredObject[];
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
}

interface Entry {
  readonly bytes: number;
  readonly ready: Promise<string>;
  holders: number;
}

/**
 * Versions of object stores as directories of this machine.
 *
 * The name of a directory is a digest of all that the store listed, contents' revisions included, and it gets that name by a rename once
 * every file is there and synced: what has the name is whole, and a version that was replaced is another directory. Files
 * that were finished before a failure are not read again. Directories that nobody holds are removed when room is needed, those
 * used longest ago first.
 */
export class VersionCache {
  readonly #options: VersionCacheOptions;
  readonly #lock: ProcessLock;
  readonly #clock: Clock;
  readonly #pace: BytePace;
  readonly #logger: Logger;
  /** By digest: held, or on their way. */
  readonly #entries = new Map<string, Entry>();
  /** Digest of what was held last, by place. */
  readonly #digests = new Map<string, string>();
  /** Digests of versions that were discarded. */
  readonly #discarded = new Set<string>();
  /** The last one of those that look at what is in the folder, or remove some of it. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: VersionCacheOptions, lock: ProcessLock) {
    this.#options = options;
    this.#lock = lock;
    this.#clock = options.clock ?? systemClock;
    this.#pace = new BytePace(options.bytesPerSecond ?? Number.POSITIVE_INFINITY, this.#clock);
    this.#logger = options.logger ?? silentLogger;
  }

  /** @throws ServingError CONFIG_INVALID when another process uses the folder */
  static async open(options: VersionCacheOptions): Promise<VersionCache> {
    await mkdir(options.dir, { recursive: true });
    const refuse = (owner: number) =>
      new ServingError(
        "CONFIG_INVALID",
        `${options.dir} is used by process ${owner}: give each process a folder of its own`,
      );
    return new VersionCache(options, await ProcessLock.take(join(options.dir, "lock"), refuse));
  }

  /**
   * The version at a place as it is now, downloaded unless it is here.
   *
   * @throws ServingError NOT_FOUND when nothing is there; RESOURCE_EXHAUSTED when it does not fit beside what is held; what the store's
   *   client reports; the signal's reason
   */
  async acquire(uri: string, signal?: AbortSignal): Promise<HeldVersion> {
    const place = parseStoreUri(uri);
    const store = await this.#options.stores.of(place);
    const objects = await store.objects(place, signal);
    if (objects.length === 0) throw new ServingError("NOT_FOUND", `there is nothing at ${uri}`);
    for (const { path } of objects) checkPath(uri, path);
    const digest = digestOf(uri, objects);
    let entry = this.#entries.get(digest);
    if (!entry) {
      const bytes = objects.reduce((total, object) => total + object.bytes, 0);
      entry = { bytes, ready: this.#bring({ uri, digest, objects, bytes, signal }), holders: 0 };
      this.#entries.set(digest, entry);
    }
    entry.holders++;
    const release = once(() => {
      if (--entry.holders === 0) this.#entries.delete(digest);
    });
    try {
      const dir = await entry.ready;
      this.#digests.set(uri, digest);
      return { dir, release, discard: () => this.#discard(digest, release) };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Directory of the version of a place that is held; undefined when none is. */
  heldDirectory(uri: string): string | undefined {
    const digest = this.#digests.get(uri);
    return digest !== undefined && this.#entries.has(digest) ? this.#directoryOf(digest) : undefined;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#lock.release();
  }

  #directoryOf(digest: string): string {
    return join(this.#options.dir, digest);
  }

  /** One after the other: what one finds in the folder, another may be about to remove. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #bring(wanted: Wanted): Promise<string> {
    const { uri, digest, objects } = wanted;
    const dir = this.#directoryOf(digest);
    try {
      if (await this.#inTurn(() => this.#isHere(dir, objects))) return dir;
      await this.#inTurn(() => this.#makeRoom(wanted));
      await this.#download(wanted, dir);
      return dir;
    } catch (error) {
      throw diskError(uri, this.#options.dir, error);
    }
  }

  /** Whether every file is there with its size; else what is left of them is kept for the download. */
  async #isHere(dir: string, objects: readonly StoredObject[]): Promise<boolean> {
    if (!(await exists(dir))) return false;
    const whole = await Promise.all(objects.map(({ path, bytes }) => isFinished(join(dir, path), bytes)));
    if (whole.every(Boolean)) {
      const nowS = this.#clock.wallMs() / 1000;
      await utimes(dir, nowS, nowS); // the time of the last use is the directory's own
      return true;
    }
    this.#logger.warn({ dir }, "files of a version in the cache are missing or cut short; they are downloaded anew");
    await rm(`${dir}${PARTIAL}`, { recursive: true, force: true });
    await rename(dir, `${dir}${PARTIAL}`);
    return false;
  }

  async #discard(digest: string, release: () => void): Promise<void> {
    release();
    if (this.#entries.has(digest) || this.#discarded.has(digest)) return;
    const dir = this.#directoryOf(digest);
    try {
      await this.#inTurn(() => rm(dir, { recursive: true, force: true }));
      this.#discarded.add(digest);
      this.#logger.warn({ dir }, "the files of a version in the cache cannot be loaded; they are downloaded anew");
    } catch (error) {
      this.#logger.error({ dir, err: error }, "the files of a version in the cache cannot be loaded, nor removed");
    }
  }

  async #download({ uri, objects, bytes, signal }: Wanted, dir: string): Promise<void> {
    const startMs = this.#clock.nowMs();
    const partial = `${dir}${PARTIAL}`;
    const store = await this.#options.stores.of(parseStoreUri(uri));
    const stop = new AbortController();
    const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    await inParallel(objects, READS_MAX, async (object) => {
      const path = join(partial, object.path);
      if (await isFinished(path, object.bytes)) return;
      try {
        const contents = await store.read(parseStoreUri(uri), object, stopped);
        await writeFile(path, this.#paced(contents, stopped), object, uri);
      } catch (error) {
        stop.abort(error); // the others need not go on
        throw error;
      }
    });
    await rename(partial, dir);
    const seconds = (this.#clock.nowMs() - startMs) / 1000;
    this.#logger.info({ uri, dir, files: objects.length, bytes, seconds }, `downloaded ${uri}`);
  }

  async *#paced(contents: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of contents) {
      yield chunk;
      await this.#pace.spend(chunk.byteLength, signal);
    }
  }

  /** @throws ServingError RESOURCE_EXHAUSTED with the numbers */
  async #makeRoom({ uri, digest, bytes }: Wanted): Promise<void> {
    const { dir, limitBytes } = this.#options;
    const free: { readonly path: string; readonly bytes: number; readonly usedMs: number }[] = [];
    let total = bytes;
    for (const [held, entry] of this.#entries) if (held !== digest) total += entry.bytes;
    for (const name of await readdir(dir)) {
      const known = name.endsWith(PARTIAL) ? name.slice(0, -PARTIAL.length) : name;
      if (!FINISHED.test(known) || this.#entries.has(known)) continue;
      const path = join(dir, name);
      const found = { path, bytes: await bytesBelow(path), usedMs: (await stat(path)).mtimeMs };
      total += found.bytes;
      free.push(found);
    }
    free.sort((a, b) => a.usedMs - b.usedMs);
    while (total > limitBytes) {
      const oldest = free.shift();
      if (!oldest) {
        throw new ServingError(
          "RESOURCE_EXHAUSTED",
          `${uri} has ${bytes} bytes, and versions in use hold ${total - bytes} of the ${limitBytes} that ${dir} may have`,
        );
      }
      await rm(oldest.path, { recursive: true });
      total -= oldest.bytes;
      this.#logger.info(
        { dir: oldest.path, bytes: oldest.bytes },
        "removed a version that is not in use from the cache",
      );
    }
  }
}

/** Keys are the store's: they must not lead out of the directory. @throws ServingError INVALID_ARGUMENT */
function checkPath(uri: string, path: string): void {
  if (path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[\\\0]/.test(part))) return;
  throw new ServingError("INVALID_ARGUMENT", `${uri}: the key ${JSON.stringify(path)} is no path of a file`);
}

function digestOf(uri: string, objects: readonly StoredObject[]): string {
  const hash = createHash("sha256").update(uri);
  for (const { path, bytes, revision } of objects) hash.update(JSON.stringify([path, bytes, revision]));
  return hash.digest("hex").slice(0, 32);
}

function once(call: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    call();
  };
}
