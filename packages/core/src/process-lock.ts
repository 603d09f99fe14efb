import { randomUUID } from "node:crypto";
import { link, open, readdir, readFile, readlink, rename, rm, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** How often a holder of a shared lock shows that it lives, in milliseconds. */
const BEAT_MS = 1_000;
/** How long a holder in another place must have been silent to count as gone, in milliseconds. */
const SILENT_MS = 10_000;
const LOOK_MS = 100;
/** Older than it is nothing that a living process writes on the way to a lock, in milliseconds. */
const DRAFT_MS = 60_000;
/** What such files are called behind the lock's name: a token. */
const DRAFT = /^\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.dead)?$/;

/** Paths that this process holds. */
const held = new Set<string>();

export interface ProcessLockOptions {
  /**
   * The folder is seen by other machines or containers too, whose processes cannot be asked for by their numbers: the holder shows
   * that it lives, and one in another place is watched for ten seconds before its lock is taken over. Default false.
   */
  readonly isShared?: boolean;
}

/**
 * A file that says: this is one process's. It holds the process's id, where that id means something, and a text that no other lock has. One
 * that a dead process left is taken over, also where the new process got the same id, as in containers.
 */
export class ProcessLock {
  readonly path: string;
  /** Of this lock alone; good in names of files. */
  readonly token: string;
  readonly #text: string;
  readonly #beat: NodeJS.Timeout | undefined;

  private constructor(path: string, token: string, text: string, isShared: boolean) {
    this.path = path;
    this.token = token;
    this.#text = text;
    if (isShared) this.#beat = setInterval(() => void this.#showLife(), BEAT_MS).unref();
  }

  /**
   * @param file    in a folder that is there
   * @param refuse  the error when a living process has it
   * @throws what `refuse` makes; what the file system reports
   */
  static async take(
    file: string,
    refuse: (owner: number) => Error,
    { isShared = false }: ProcessLockOptions = {},
  ): Promise<ProcessLock> {
    const path = resolve(file);
    if (held.has(path)) throw refuse(process.pid);
    held.add(path);
    try {
      const token = randomUUID();
      const place = await placeOfProcess();
      const text = `${process.pid} ${place} ${token}\n`;
      await create(path, text, (owner) => isLiving(path, owner, place, isShared), refuse);
      await removeDrafts(path);
      return new ProcessLock(path, token, text, isShared);
    } catch (error) {
      held.delete(path);
      throw error;
    }
  }

  /** False once somebody else took this process for dead and has the lock. One that cannot be read now has been taken by nobody. */
  async isHeld(): Promise<boolean> {
    try {
      return (await readFile(this.path, "utf8")) === this.#text;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code !== "ENOENT";
    }
  }

  /** A successor's lock is not kept alive: who comes after it would wait for this process. */
  async #showLife(): Promise<void> {
    if (await this.isHeld()) await touch(this.path);
  }

  /** A lock that is gone is as good as released. */
  async release(): Promise<void> {
    clearInterval(this.#beat);
    if (await this.isHeld()) await unlink(this.path).catch(() => undefined);
    held.delete(this.path);
  }
}

async function create(
  path: string,
  text: string,
  isAlive: (text: string) => Promise<boolean>,
  refuse: (owner: number) => Error,
): Promise<void> {
  // The lock appears with its owner in it: an empty one would pass for that of a process that is gone.
  const draft = `${path}.${text.split(" ")[2]?.trim()}`;
  try {
    await writeFile(draft, text);
    for (let isCleared = false; ; ) {
      try {
        return await link(draft, path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const owner = await read(path);
      if (owner === undefined) continue; // dropped meanwhile; somebody else's may be there the next moment
      if (isCleared || (await isAlive(owner))) throw refuse(Number.parseInt(owner, 10));
      isCleared = await clear(path, owner, `${draft}.dead`);
    }
  } finally {
    await rm(draft, { force: true }); // a full disk may have it empty
  }
}

/** Removes a dead process's lock, and gives back one that another process took over first. @returns false where it was gone */
async function clear(path: string, text: string, aside: string): Promise<boolean> {
  try {
    await rename(path, aside);
  } catch {
    return false;
  }
  if ((await read(aside)) !== text) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
  return true;
}

/** Removes what processes left that were killed while they took the lock. */
async function removeDrafts(path: string): Promise<void> {
  try {
    const folder = dirname(path);
    const { mtimeMs: nowMs } = await stat(path); // as the folder's machine has it, whose clock may be another one
    for (const name of await readdir(folder)) {
      if (!name.startsWith(basename(path)) || !DRAFT.test(name.slice(basename(path).length))) continue;
      const left = join(folder, name);
      if ((await stat(left)).mtimeMs < nowMs - DRAFT_MS) await rm(left, { force: true });
    }
  } catch {
    // They are in nobody's way: another process removes them, or the next one.
  }
}

/** Whether the owner of a lock lives; where its number says nothing here, whether it shows a sign of life. */
async function isLiving(path: string, text: string, place: string, isShared: boolean): Promise<boolean> {
  const [pid, ownerPlace] = text.trim().split(" ");
  const isElsewhere = ownerPlace !== undefined && ownerPlace !== place;
  if (!isElsewhere || !isShared) return Number(pid) !== process.pid && isRunning(Number(pid));
  const first = await stamp(path);
  for (let leftMs = SILENT_MS; leftMs > 0; leftMs -= LOOK_MS) {
    await pause(LOOK_MS);
    const now = await stamp(path);
    if (now !== first) return now !== undefined;
  }
  return false;
}

function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Where a process id means something: the kernel that runs, and in it the process's namespace of ids. */
async function placeOfProcess(): Promise<string> {
  const boot = (await read("/proc/sys/kernel/random/boot_id"))?.trim();
  const ids = await readlink("/proc/self/ns/pid").catch(() => "");
  return boot === undefined ? hostname().replaceAll(/\s/g, "_") : `${boot}/${ids}`;
}

function read(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}

async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined); // it is gone, or the disk is; who has it then is seen before anything is published
}

/** Changes with each sign of life; undefined = the lock is gone. A file that is opened is asked of a file server, not of its cache. */
async function stamp(path: string): Promise<string | undefined> {
  try {
    const handle = await open(path, "r");
    try {
      const { mtimeMs, ino } = await handle.stat();
      return `${ino} ${mtimeMs}`;
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}
