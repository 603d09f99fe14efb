import { type DescMessage, equals, type MessageShape } from "@shardserve/api";
import { type Clock, type Logger, Service, silentLogger, ServingError, sleep, systemClock } from "@shardserve/core";
import { readTextFile } from "./text-file.js";

/** For {@link ConfigFilePoll}: which file is looked at, how often, and what its contents go to. */
export interface ConfigFilePollOptions<D extends DescMessage> {
  /** What the log calls the file's contents: "model configuration". */
  readonly what: string;
  readonly schema: D;
  readonly path: string;
  /** What the file said when it was applied last. */
  readonly applied: MessageShape<D>;
  /** Pause between looks (--model_config_file_poll_wait_seconds). */
  readonly intervalMs: number;
  readonly apply: (config: MessageShape<D>, options: { readonly signal: AbortSignal }) => Promise<void>;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Reads a configuration file in protobuf's text format again and again, and applies it when it changed or could not be
 * applied whole. What is wrong with it is logged, once; what was applied before stays.
 */
export class ConfigFilePoll<D extends DescMessage> extends Service {
  readonly #options: ConfigFilePollOptions<D>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #applied: MessageShape<D> | null;
  #complaint = "";
  #polling: Promise<void> = Promise.resolve();

  constructor(options: ConfigFilePollOptions<D>) {
    super();
    this.#options = options;
    this.#applied = options.applied;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
  }

  protected override async onStart(): Promise<void> {
    this.#polling = this.#poll();
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    this.#stop.abort(new Error("the poll is closed"));
    await this.#polling;
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    const { what, schema, path, intervalMs, apply } = this.#options;
    while (!signal.aborted) {
      await sleep(this.#clock, intervalMs, signal).catch(() => undefined); // only an abort ends a sleep early
      if (signal.aborted) return;
      try {
        const config = await readTextFile(schema, path);
        if (this.#applied && equals(schema, this.#applied, config)) continue;
        this.#applied = null;
        await apply(config, { signal });
        this.#applied = config;
        this.#complaint = "";
        this.#logger.info({ path }, `the ${what} was read again and applied`);
      } catch (reason) {
        if (!signal.aborted) this.#complain(ServingError.from(reason));
      }
    }
  }

  #complain(error: ServingError): void {
    if (this.#complaint === error.message) return;
    this.#complaint = error.message;
    const { what, path } = this.#options;
    this.#logger.error({ code: error.code, path }, `the ${what}: ${error.message}`);
  }
}
