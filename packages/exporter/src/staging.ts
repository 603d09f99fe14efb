import { link, mkdir, open, readFile, rename, rm, stat, unlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ServingError } from "@shardserve/core";
import { writeError } from "./write-error.js";

/** Drafts of lock files that this process wrote. */
let drafts = 0;

/**
 * The directory in which an export grows, beside its target and invisible to servers, which look for numbers. It becomes
 * the target in one rename, when everything in it is on the disk.
 */
export class Staging {
  readonly dir: string;
  readonly #target: string;
  readonly #lock: string;

  private constructor(target: string) {
    this.#target = target;
    this.dir = join(dirname(target), `.${basename(target)}.partial`);
    this.#lock = `${this.dir}.lock`;
  }

  /**
   * @throws ServingError OUTPUT_EXISTS when the target is there already, or another export of it is running; DISK_FULL or
   *   FAILED_PRECONDITION where nothing can be written
   */
  static async open(target: string): Promise<Staging> {
    const staging = new Staging(target);
    try {
      await mkdir(dirname(target), { recursive: true });
      await staging.#refuseExisting();
      await staging.#takeLock();
    } catch (error) {
      throw writeError(target, error);
    }
    return staging;
  }

  /** Removes what an earlier run left. */
  async clear(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
    await mkdir(this.dir, { recursive: true });
  }

  /** @throws ServingError OUTPUT_EXISTS when the target appeared meanwhile */
  async publish(): Promise<void> {
    await this.#refuseExisting();
    await syncPath(this.dir);
    await rename(this.dir, this.#target);
    await syncPath(dirname(this.#target));
    await this.#dropLock();
  }

  /** Gives up. `isKept` leaves the directory for a later run that resumes. */
  async abandon(isKept: boolean): Promise<void> {
    if (!isKept) await rm(this.dir, { recursive: true, force: true });
    await this.#dropLock();
  }

  async #refuseExisting(): Promise<void> {
    const exists = await stat(this.#target).then(
      () => true,
      () => false,
    );
    if (exists) {
      throw new ServingError(
        "OUTPUT_EXISTS",
        `${this.#target} exists and is never overwritten; choose another version number`,
      );
    }
  }

  async #takeLock(): Promise<void> {
    let isCleared = false;
    for (;;) {
      // The lock appears with its owner's number in it: an empty one would pass for that of a process that is gone.
      const draft = `${this.#lock}.${process.pid}.${++drafts}`;
      await writeFile(draft, String(process.pid));
      try {
        return await link(draft, this.#lock);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      } finally {
        await unlink(draft);
      }
      const owner = await readFile(this.#lock, "utf8").catch(() => undefined);
      if (owner === undefined) continue; // dropped meanwhile; somebody else's may be there the next moment
      if (isCleared || isAlive(Number(owner))) {
        throw new ServingError("OUTPUT_EXISTS", `process ${owner} is exporting to ${this.#target} now (${this.#lock})`);
      }
      await this.#dropLock(); // left by a process that was killed
      isCleared = true;
    }
  }

  async #dropLock(): Promise<void> {
    await unlink(this.#lock).catch(() => undefined); // a lock that is gone is as good as dropped
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
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
