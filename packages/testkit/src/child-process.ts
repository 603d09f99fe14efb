import { type ChildProcess, spawn } from "node:child_process";
import { eventually } from "./eventually.js";

/** Output kept per process; what is older is dropped. */
const OUTPUT_LENGTH_MAX = 1 << 20;

/** How a process is started. */
export interface LaunchOptions {
  readonly args?: readonly string[];
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How a process ended. */
export interface ExitInfo {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Killed when the test process ends. */
const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A child process with its output kept; killed when disposed and when the test process ends. */
export class LaunchedProcess implements AsyncDisposable {
  readonly command: string;
  /** Settles when the process ended; never rejects. */
  readonly exit: Promise<ExitInfo>;
  readonly #child: ChildProcess;
  #output = "";
  #exited: ExitInfo | undefined;

  constructor(command: string, options: LaunchOptions = {}) {
    this.command = [command, ...(options.args ?? [])].join(" ");
    this.#child = spawn(command, options.args ?? [], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString("utf8")).slice(-OUTPUT_LENGTH_MAX);
    };
    this.#child.stdout?.on("data", keep);
    this.#child.stderr?.on("data", keep);
    running.add(this.#child);
    this.exit = new Promise((resolve) => {
      const settle = (info: ExitInfo) => {
        running.delete(this.#child);
        this.#exited = info;
        resolve(info);
      };
      this.#child.once("error", (error) => {
        this.#output += `\ncannot start ${command}: ${error.message}`;
        settle({ code: null, signal: null });
      });
      this.#child.once("close", (code, signal) => settle({ code, signal }));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it wrote to stdout and stderr, newest megabyte. */
  get output(): string {
    return this.#output;
  }

  get hasExited(): boolean {
    return this.#exited !== undefined;
  }

  /**
   * Waits until the output matches.
   *
   * @throws Error with the output's end when the process ends first or time runs out
   */
  waitForOutput(pattern: RegExp, options: { readonly timeoutMs?: number } = {}): Promise<RegExpExecArray> {
    return this.#waitFor(() => pattern.exec(this.#output) ?? undefined, `output ${String(pattern)}`, options.timeoutMs);
  }

  /** Waits until `isReady` is true; fails at once when the process ends. */
  async waitUntil(isReady: () => Promise<boolean>, options: { readonly timeoutMs?: number } = {}): Promise<void> {
    await this.#waitFor(async () => ((await isReady()) ? true : undefined), "readiness", options.timeoutMs);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Asks with `signal`, insists with SIGKILL after `graceMs`. A process that ended is fine. */
  async stop(signal: NodeJS.Signals = "SIGTERM", graceMs = 5_000): Promise<ExitInfo> {
    if (this.#exited) return this.#exited;
    this.#child.kill(signal);
    const insist = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
    try {
      return await this.exit;
    } finally {
      clearTimeout(insist);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }

  async #waitFor<T>(look: () => T | undefined | Promise<T | undefined>, what: string, timeoutMs = 20_000): Promise<T> {
    let ended = false;
    try {
      return await eventually(
        async () => {
          const found = await look();
          if (found !== undefined) return found;
          if (this.#exited) {
            ended = true;
            return undefined as T;
          }
          throw new Error("not yet");
        },
        { timeoutMs },
      ).then((found) => {
        if (ended) throw new Error("the process ended");
        return found;
      });
    } catch (error) {
      throw new Error(`${this.command}: no ${what}: ${(error as Error).message}\n${this.#output.slice(-4_000)}`, {
        cause: error,
      });
    }
  }
}

/** Starts a program. Its failure to start shows in `exit` and `output`. */
export function launch(command: string, options: LaunchOptions = {}): LaunchedProcess {
  return new LaunchedProcess(command, options);
}

/** `{ port: "1" }` as `["--port", "1"]`. */
export function flags(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, value]);
}
