import { spawnSync } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

const FILLER = ".filler";

/** A file system of its own that can run full. Needs the right to mount (root; in a container CAP_SYS_ADMIN). */
export class SmallDisk {
  readonly path: string;

  /**
   * Mounts it over an existing, empty folder.
   *
   * @returns undefined where mounting is not permitted
   */
  static mount(path: string, sizeBytes: number): SmallDisk | undefined {
    const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes},mode=0755`, "tmpfs", path]);
    return status === 0 ? new SmallDisk(path) : undefined;
  }

  private constructor(path: string) {
    this.path = path;
  }

  /** Takes the room that is left, up to so many bytes: who writes more hears ENOSPC. */
  fill(leftBytes = 0): void {
    const chunk = Buffer.alloc(1 << 20);
    const file = openSync(join(this.path, FILLER), "w");
    try {
      for (let bytes = chunk.length; bytes >= 1; ) {
        try {
          writeSync(file, chunk, 0, bytes);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          bytes >>= 1;
        }
      }
      ftruncateSync(file, fstatSync(file).size - leftBytes);
    } finally {
      closeSync(file);
    }
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Gives the room back. */
  free(): void {
    rmSync(join(this.path, FILLER), { force: true });
  }

  /** Unmounts it; what it held is gone. */
  stop(): void {
    spawnSync("umount", ["--lazy", this.path]);
  }
}
