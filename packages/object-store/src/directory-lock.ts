import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";

const FILE = "lock";

/** Says that a folder is one process's: a file with its id. One that a dead process left is taken over. */
export class DirectoryLock {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** @throws ServingError CONFIG_INVALID when a living process has it */
  static async take(dir: string): Promise<DirectoryLock> {
    const path = join(dir, FILE);
    for (;;) {
      try {
        const file = await open(path, "wx");
        await file.writeFile(`${process.pid}\n`);
        await file.close();
        return new DirectoryLock(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const owner = Number(await readFile(path, "utf8").catch(() => "0"));
      if (isAlive(owner) && owner !== process.pid) {
        throw new ServingError(
          "CONFIG_INVALID",
          `${dir} is used by process ${owner}: give each process a folder of its own`,
        );
      }
      await rm(path, { force: true });
    }
  }

  async release(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
