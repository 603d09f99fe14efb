import { spawnSync } from "node:child_process";
import { launch, type LaunchedProcess } from "./child-process.js";
import { findProgram, lookFor } from "./programs.js";

/** What goes to the disk: names, positioned reads and writes, and what waits for it. Sockets have other calls. */
const CALLS = "%file,pread64,pwrite64,fsync,fdatasync,ftruncate";

/**
 * A slow disk as one process sees it: each of its calls to the file system takes so much longer, in the thread that makes it.
 * Made by strace, which holds the calls up; pages of mapped files are not slowed, as they are in memory here. Slowing the device
 * itself would need device-mapper or a cgroup with the io controller, which containers seldom have.
 */
export class SlowDisk implements AsyncDisposable {
  readonly #strace: LaunchedProcess;

  /** Why no process can be slowed on this machine; undefined = they can. */
  static obstacle(): string | undefined {
    if (!lookFor("strace")) return "needs strace";
    const { path, env } = findProgram("strace");
    const { status, stderr } = spawnSync(path, ["-o", "/dev/null", ...slowing(1), "true"], {
      env: { ...process.env, ...env },
      encoding: "utf8",
    });
    return status === 0 ? undefined : `needs the right to trace processes (${stderr.trim().slice(-200)})`;
  }

  /** Slows a process that runs, its threads included. */
  static async attach(pid: number, delayMs: number): Promise<SlowDisk> {
    const { path, env } = findProgram("strace");
    const strace = launch(path, { args: ["-f", "-p", String(pid), "-o", "/dev/null", ...slowing(delayMs)], env });
    await strace.waitForOutput(/attached/);
    return new SlowDisk(strace);
  }

  private constructor(strace: LaunchedProcess) {
    this.#strace = strace;
  }

  /** The process goes on as before. */
  async stop(): Promise<void> {
    await this.#strace.stop("SIGTERM"); // lets go of what it traces
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

function slowing(delayMs: number): string[] {
  return ["-e", `trace=${CALLS}`, "-e", `inject=${CALLS}:delay_enter=${Math.round(delayMs * 1000)}`];
}
