import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The command-line entry of the built project. */
export const SHARDSERVE = fileURLToPath(new URL("../../../packages/cli/bin/shardserve.js", import.meta.url));

/** A process of a benchmark, ended by `await using`. */
export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  /** Rejects when the process ends before it was asked to. */
  readonly ended: Promise<never>;
  readonly #exited: Promise<void>;
  /** Everything printed so far, and who waits for more. */
  readonly #lines: string[] = [];
  readonly #waiters = new Set<(line: string) => void>();
  #errors = "";
  #isDisposed = false;

  /** @param nodeFlags  of the interpreter; default: those of the script's first line, with which users run it */
  constructor(script: string, args: readonly string[], nodeFlags: readonly string[] = firstLineFlags(script)) {
    this.process = spawn(process.execPath, [...nodeFlags, script, ...args], { stdio: ["pipe", "pipe", "pipe"] });
    this.process.stderr!.on("data", (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-8192);
      if (process.env.DEBUG) process.stderr.write(chunk);
    });
    createInterface({ input: this.process.stdout! }).on("line", (line) => {
      this.#lines.push(line);
      for (const waiter of this.#waiters) waiter(line);
    });
    this.#exited = new Promise((resolve) => this.process.once("exit", () => resolve()));
    this.ended = new Promise((_, reject) => {
      void this.#exited.then(() => {
        if (!this.#isDisposed) reject(new Error(`the process ended: ${script} ${args.join(" ")}`));
      });
    });
    this.ended.catch(() => undefined); // for whoever waits for it
  }

  /** What it wrote to standard error, the newest 8 KiB. */
  get errors(): string {
    return this.#errors;
  }

  /** The first line of standard output that matches, printed already or to come; fails when the process ends first. */
  line(pattern: RegExp): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const look = (line: string) => {
        const match = line.match(pattern);
        if (!match) return;
        this.#waiters.delete(look);
        resolve(match);
      };
      this.#waiters.add(look);
      for (const line of this.#lines) look(line);
      void this.#exited.then(() =>
        reject(new Error(`the process ended before it printed ${pattern}: ${this.#errors}`)),
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    this.process.stdin?.end();
    this.process.kill("SIGTERM");
    await this.#exited;
  }
}

/** Flags of Node in a script's `#!` line; none where it has no such line. */
function firstLineFlags(script: string): string[] {
  const [, flags] = /^#!.*\bnode\b(.*)/.exec(readFileSync(script, "utf8")) ?? [];
  return flags?.split(" ").filter((flag) => flag !== "") ?? [];
}
