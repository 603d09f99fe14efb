import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ProcessLock, ServingError } from "@shardserve/core";
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
   * A directory that a later run goes on with.
   *
   * @throws ServingError OUTPUT_EXISTS when the target is there already, or another export of it is running; DISK_FULL or
   *   FAILED_PRECONDITION where nothing can be written
   */
  static open(target: string): Promise<Staging> {
    return Staging.#open(target, () => "");
  }

  /**
   * A new, empty directory of this run's own: a process that was taken for dead and goes on writes into nobody else's. Those that dead ones
   * left are removed.
   *
   * @throws as {@link open}
   */
  static openNew(target: string): Promise<Staging> {
    return Staging.#open(target, ({ token }) => `.${token}`);
  }

  static async #open(target: string, suffix: (lock: ProcessLock) => string): Promise<Staging> {
    const folder = dirname(target);
    const prefix = `.${basename(target)}.partial`;
    try {
      await mkdir(folder, { recursive: true });
      await refuseExisting(target);
      const file = join(folder, `${prefix}.lock`);
      const refusal = (owner: number) =>
        new ServingError("OUTPUT_EXISTS", `process ${owner} is exporting to ${target} now (${file})`);
      const lock = await ProcessLock.take(file, refusal, { isShared: true });
      const own = suffix(lock);
      const staging = new Staging(target, join(folder, `${prefix}${own}`), lock);
      if (own !== "") await staging.#beginNew(folder, prefix);
      return staging;
    } catch (error) {
      throw writeError(target, error);
    }
  }

  async #beginNew(folder: string, prefix: string): Promise<void> {
    try {
      for (const name of await readdir(folder)) {
        if (name === prefix || (name.startsWith(`${prefix}.`) && !name.startsWith(`${prefix}.lock`)))
          await rm(join(folder, name), { recursive: true, force: true });
      }
      await mkdir(this.dir);
    } catch (error) {
      await this.#lock.release();
      throw error;
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
    await syncPath(this.dir);
    if (!(await this.#lock.isHeld())) {
      const text = `another process took this one for dead and exports to ${this.#target} (${this.#lock.path})`;
      throw new ServingError("OUTPUT_EXISTS", text);
    }
    await rename(this.dir, this.#target);
    await syncPath(dirname(this.#target));
    await this.#lock.release();
  }

  /** Gives up. `isKept` leaves the directory for a later run that resumes. */
  async abandon(isKept: boolean): Promise<void> {
    if (!isKept && (await this.#lock.isHeld())) await rm(this.dir, { recursive: true, force: true });
    await this.#lock.release();
  }
}

/** Known before anything is read or planned. @throws ServingError OUTPUT_EXISTS when the version is there already */
export async function refuseExisting(target: string): Promise<void> {
  const exists = await stat(target).then(
    () => true,
    () => false,
  );
  if (!exists) return;
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
