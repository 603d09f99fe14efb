import { connect } from "node:net";
import { flags, launch, type LaunchedProcess } from "./child-process.js";
import { freePort } from "./ports.js";
import { findProgram } from "./programs.js";
import { tempDir, type TempDir } from "./temp-dir.js";

/** How Redis is started. */
export interface RedisOptions {
  /** Further command-line arguments, such as `--maxmemory 64mb`. */
  readonly args?: readonly string[];
}

/** A real redis-server on a free port, without persistence. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #dir: TempDir;
  readonly #args: readonly string[];
  #process: LaunchedProcess | undefined;

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), await tempDir("shardserve-redis-"), options.args ?? []);
    try {
      await server.resume();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  private constructor(port: number, dir: TempDir, args: readonly string[]) {
    this.port = port;
    this.#dir = dir;
    this.#args = args;
  }

  /** `127.0.0.1:PORT` */
  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Ends the process; what it held is gone. */
  async pause(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#process?.stop(signal);
    this.#process = undefined;
  }

  /** Starts the process again on the same port and waits until it answers. */
  async resume(): Promise<void> {
    const { path, env } = findProgram("redis-server");
    const child = launch(path, {
      args: [
        ...flags({ port: String(this.port), bind: "127.0.0.1", dir: this.#dir.path, save: "", appendonly: "no" }),
        ...this.#args,
      ],
      env,
    });
    this.#process = child;
    await child.waitUntil(() => answersPing(this.port));
  }

  /** Stops its processor time: connections stand, nothing answers. */
  freeze(): void {
    this.#process?.signal("SIGSTOP");
  }

  thaw(): void {
    this.#process?.signal("SIGCONT");
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.pause();
    await this.#dir.remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.setTimeout(500, () => socket.destroy());
    socket.once("data", (reply) => {
      resolve(reply.toString("latin1").startsWith("+PONG"));
      socket.destroy();
    });
    socket.once("error", () => socket.destroy());
    socket.once("close", () => resolve(false));
  });
}
