import { link, readFile, unlink, writeFile } from "node:fs/promises";
import { resolve } from "node:path";

/** Paths that this process holds. */
const held = new Set<string>();
/** Drafts of lock files that this process wrote. */
let drafts = 0;

/**
 * A file that says: this is one process's. It holds the process's id; one that a dead process left is taken over, also where the new process
 * got the same id, as in containers.
 */
export class ProcessLock {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * @param file    in a folder that is there
   * @param refuse  the error when a living process has it
   * @throws what `refuse` makes; what the file system reports
   */
  static async take(file: string, refuse: (owner: number) => Error): Promise<ProcessLock> {
    const path = resolve(file);
    if (held.has(path)) throw refuse(process.pid);
    held.add(path);
    try {
      await create(path, refuse);
      return new ProcessLock(path);
    } catch (error) {
      held.delete(path);
      throw error;
    }
  }

  /** A lock that is gone is as good as released. */
  async release(): Promise<void> {
    await unlink(this.path).catch(() => undefined);
    held.delete(this.path);
  }
}

async function create(path: string, refuse: (owner: number) => Error): Promise<void> {
  for (let isCleared = false; ; ) {
    // The lock appears with its owner's number in it: an empty one would pass for that of a process that is gone.
    const draft = `${path}.${process.pid}.${++drafts}`;
    await writeFile(draft, `${process.pid}\n`);
    try {
      return await link(draft, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    } finally {
      await unlink(draft);
    }
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text === undefined) continue; // dropped meanwhile; somebody else's may be there the next moment
    const owner = Number(text);
    if (isCleared || (owner !== process.pid && isAlive(owner))) throw refuse(owner);
    await unlink(path).catch(() => undefined); // left by a process that was killed
    isCleared = true;
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
