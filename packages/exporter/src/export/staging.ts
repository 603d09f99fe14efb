import { mkdir, open, rename, rm, stat } from "node:fs/promises";
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
  #lock: ProcessLock | undefined;

  private constructor(target: string) {
    this.#target = target;
    this.dir = join(dirname(target), `.${basename(target)}.partial`);
  }

  /**
   * @throws ServingError OUTPUT_EXISTS when the target is there already, or another export of it is running; DISK_FULL or
   *   FAILED_PRECONDITION where nothing can be written
   */
  static async open(target: string): Promise<Staging> {
    const staging = new Staging(target);
    try {
      await mkdir(dirname(target), { recursive: true });
      await refuseExisting(target);
      staging.#lock = await ProcessLock.take(`${staging.dir}.lock`, (owner) => staging.#refusal(owner));
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
    await refuseExisting(this.#target);
    await syncPath(this.dir);
    await rename(this.dir, this.#target);
    await syncPath(dirname(this.#target));
    await this.#lock?.release();
  }

  /** Gives up. `isKept` leaves the directory for a later run that resumes. */
  async abandon(isKept: boolean): Promise<void> {
    if (!isKept) await rm(this.dir, { recursive: true, force: true });
    await this.#lock?.release();
  }

  #refusal(owner: number): ServingError {
    return new ServingError("OUTPUT_EXISTS", `process ${owner} is exporting to ${this.#target} now (${this.dir}.lock)`);
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
