import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The command-line entry of the built project. */
export const SHARDSERVE = fileURLToPath(new URL("../../../packages/cli/bin/shardserve.js", import.meta.url));

/** A process of a benchmark, closed by `using`. */
export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #exited: Promise<void>;
  #errors = "";

  constructor(script: string, args: readonly string[]) {
    this.process = spawn(process.execPath, [script, ...args], { stdio: ["pipe", "pipe", "pipe"] });
    this.process.stderr!.on("data", (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-8192);
    });
    this.#exited = new Promise((resolve) => this.process.once("exit", () => resolve()));
  }

  /** Waits for a line of standard output that matches; fails with what the process said when it exits first. */
  line(pattern: RegExp): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const lines = createInterface({ input: this.process.stdout! });
      lines.on("line", (line) => {
        const match = line.match(pattern);
        if (match) resolve(match);
      });
      void this.#exited.then(() => reject(new Error(`process ended before it printed ${pattern}: ${this.#errors}`)));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.stdin?.end();
    this.process.kill("SIGTERM");
    await this.#exited;
  }
}
