import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Logger, Service, ServingError, sleep, systemClock } from "@shardserve/core";
import { EXECUTORS_PREFIX, executorRecord, type Registry } from "@shardserve/registry";

/** This program, as a script for child processes. */
const PROGRAM = fileURLToPath(new URL("../../../../bin/shardserve.js", import.meta.url));

export interface LocalClusterOptions {
  /** Arguments of each shard process, by id. */
  readonly shards: ReadonlyMap<string, readonly string[]>;
  /** Arguments of each executor process, by id. */
  readonly executors: ReadonlyMap<string, readonly string[]>;
  /** Gets the lines that the processes print, with their id. */
  readonly onLine: (id: string, line: string) => void;
  /** Told of a process that ends by itself. */
  readonly onEnd: (id: string) => void;
  /** How long each process may take to drain. */
  readonly drainMs: number;
  readonly logger: Logger;
}

/**
 * The processes of a cluster on this machine. One that ends by itself is reported and stays away: what the cluster does
 * without it is what one wants to see here.
 */
export class LocalCluster extends Service {
  readonly #options: LocalClusterOptions;
  readonly #children = new Map<string, { readonly process: ChildProcess; readonly ended: Promise<void> }>();

  constructor(options: LocalClusterOptions) {
    super();
    this.#options = options;
  }

  /** Process id of a member that runs. */
  pid(id: string): number | undefined {
    return this.#children.get(id)?.process.pid;
  }

  protected override async onStart(): Promise<void> {
    for (const [id, args] of this.#options.shards) this.#spawn(id, ["shard", ...args]);
    for (const [id, args] of this.#options.executors) this.#spawn(id, ["executor", ...args]);
  }

  /** Executors first, so that none asks a shard that is gone. */
  protected override async onDrain(): Promise<void> {
    await this.#stop([...this.#options.executors.keys()]);
    await this.#stop([...this.#options.shards.keys()]);
  }

  protected override async onClose(): Promise<void> {
    for (const { process, ended } of this.#children.values()) {
      process.kill("SIGKILL");
      await ended;
    }
  }

  #spawn(id: string, args: readonly string[]): void {
    const child = spawn(process.execPath, [...process.execArgv, PROGRAM, ...args], {
      stdio: ["ignore", "pipe", "inherit", "ipc"], // the channel tells the child when this process is gone
    });
    createInterface({ input: child.stdout! }).on("line", (line) => this.#options.onLine(id, line));
    const ended = new Promise<void>((resolve) => {
      child.once("exit", (code, signal) => {
        this.#children.delete(id);
        if (this.state === "ready" || this.state === "starting") {
          this.#options.logger.error({ id, code, signal }, "a process of the cluster ended");
          this.#options.onEnd(id);
        }
        resolve();
      });
    });
    this.#children.set(id, { process: child, ended });
  }

  async #stop(ids: readonly string[]): Promise<void> {
    const members = ids.flatMap((id) => this.#children.get(id) ?? []);
    for (const { process } of members) process.kill("SIGTERM");
    const cancel = systemClock.after(this.#options.drainMs + 2000, () => {
      for (const { process } of members) process.kill("SIGKILL");
    });
    await Promise.all(members.map(({ ended }) => ended));
    cancel();
  }
}

/**
 * Waits until every executor serves every model of the repository.
 *
 * @throws ServingError VERSION_NOT_READY saying who lacks what, when the time is over; the signal's reason
 */
export async function whenServing(
  registry: Registry,
  executors: readonly string[],
  models: readonly string[],
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const endMs = systemClock.nowMs() + options.timeoutMs;
  for (;;) {
    const { entries } = await registry.list(EXECUTORS_PREFIX, { signal: options.signal });
    const records = new Map(
      entries.map(({ key, value }) => executorRecord.decode(value, key)).map((record) => [record.id, record]),
    );
    const missing = executors.flatMap((id) =>
      models.flatMap((model) => {
        const served = records.get(id)?.serving.filter((version) => version.model === model) ?? [];
        if (served.some(({ state }) => state === "available")) return [];
        const failure = served.find(({ state }) => state === "failed")?.error?.message;
        return [`${model} on ${id}${failure === undefined ? "" : ` (${failure})`}`];
      }),
    );
    if (missing.length === 0) return;
    if (systemClock.nowMs() >= endMs)
      throw new ServingError("VERSION_NOT_READY", `not served after ${options.timeoutMs} ms: ${missing.join("; ")}`);
    await sleep(systemClock, 100, options.signal);
  }
}
