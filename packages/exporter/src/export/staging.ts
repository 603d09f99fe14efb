import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exists, makeFolder, ProcessLock, ServingError } from "@shardserve/core";
import { JOURNAL_NAME } from "./journal.js";
import { writeError } from "../write-error.js";

/**
 * The directory in which an export grows, beside its target and invisible to servers, which look for numbers. It becomes
 * the target in one rename, when everything in it is on the disk.
 */
export class Staging {
  readonly dir: string;
  readonly #target: string;
  readonly #lock: ProcessLock;

  private constructor(target: string, dir: string, lock: ProcessLock) {
    this.#target = target;
    this.dir = dir;
    this.#lock = lock;
  }

  /**
   * A directory that a later run goes on with. What an earlier run left in one with a journal moves here, so that a process that was taken
   * for dead and goes on finds nothing where it wrote. (Files that it has open it may write to: the same bytes at the same places.)
   *
   * @throws ServingError OUTPUT_EXISTS when the target is there already, or another export of it is running; DISK_FULL or
   *   FAILED_PRECONDITION where nothing can be written
   */
  static open(target: string): Promise<Staging> {
    return Staging.#open(target, async (left, dir) => {
      for (const name of left) {
        const isWorthIt = (await exists(join(name, JOURNAL_NAME))) && !(await exists(dir));
        await (isWorthIt ? rename(name, dir) : rm(name, { recursive: true, force: true }));
      }
    });
  }

  /**
   * A new, empty directory. Those that dead runs left are removed.
   *
   * @throws as {@link open}
   */
  static openNew(target: string): Promise<Staging> {
    return Staging.#open(target, async (left, dir) => {
      for (const name of left) await rm(name, { recursive: true, force: true });
      await mkdir(dir);
    });
  }

  /** The directory is this run's own: a process that was taken for dead and goes on writes into nobody else's. */
  static async #open(target: string, begin: (left: readonly string[], dir: string) => Promise<void>): Promise<Staging> {
    const folder = dirname(target);
    const prefix = `.${basename(target)}.partial`;
    try {
      await makeFolder(folder);
      await refuseExisting(target);
      const file = join(folder, `${prefix}.lock`);
      const refusal = (owner: number) =>
        new ServingError("OUTPUT_EXISTS", `process ${owner} is exporting to ${target} now (${file})`);
      const lock = await ProcessLock.take(file, refusal, { isShared: true });
      try {
        const dir = join(folder, `${prefix}.${lock.token}`);
        await begin(await leftIn(folder, prefix), dir);
        return new Staging(target, dir, lock);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      throw writeError(target, error);
    }
  }

  /** Removes what an earlier run left. */
  async clear(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
    await mkdir(this.dir, { recursive: true });
  }

  /** @throws ServingError OUTPUT_EXISTS when the target appeared meanwhile, or another process took this one for dead */
  async publish(): Promise<void> {
    await refuseExisting(this.#target);
    await this.checkHeld();
    await syncPath(this.dir);
    await this.checkHeld();
    await rename(this.dir, this.#target);
    await syncPath(dirname(this.#target));
    await this.#lock.release();
  }

  /** @throws ServingError OUTPUT_EXISTS when another process took this one for dead: what failed here failed because of that */
  async checkHeld(): Promise<void> {
    if (await this.#lock.isHeld()) return;
    const text = `another process took this one for dead and exports to ${this.#target} (${this.#lock.path})`;
    throw new ServingError("OUTPUT_EXISTS", text);
  }

  /** Gives up. `isKept` leaves the directory for a later run that resumes; one that somebody else goes on with is not here any more. */
  async abandon(isKept: boolean): Promise<void> {
    if (!isKept) await rm(this.dir, { recursive: true, force: true });
    await this.#lock.release();
  }
}

/** Directories in which earlier runs grew. */
async function leftIn(folder: string, prefix: string): Promise<string[]> {
  const names = await readdir(folder);
  return names
    .filter((name) => name === prefix || (name.startsWith(`${prefix}.`) && !name.startsWith(`${prefix}.lock`)))
    .map((name) => join(folder, name));
}

/** Known before anything is read or planned. @throws ServingError OUTPUT_EXISTS when the version is there already */
export async function refuseExisting(target: string): Promise<void> {
  if (!(await exists(target))) return;
  throw new ServingError("OUTPUT_EXISTS", `${target} exists and is never overwritten; choose another version number`);
}

/** Hands a file, or the names in a directory, to the disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
