import { type Clock, type Logger, Service, ServingError, silentLogger, sleep, systemClock } from "@shardserve/core";

/** For {@link FilePoll}. */
export interface FilePollOptions {
  readonly path: string;
  readonly intervalMs: number;
  readonly clock?: Clock | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * Looks at a file again and again. What was in force before stays until the file says something else that can be; what is
 * wrong with it is logged once, until it is mended or something else is wrong.
 */
export abstract class FilePoll extends Service {
  readonly #options: FilePollOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #complaint = "";
  #polling: Promise<void> = Promise.resolve();

  protected constructor(options: FilePollOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
  }

  /**
   * Reads the file and puts it in force if it has changed.
   *
   * @returns what to log of it; undefined = it has not changed
   * @throws ServingError when the file is refused
   */
  protected abstract look(signal: AbortSignal): Promise<string | undefined>;

  /** What is logged of a file that was refused. */
  protected abstract complaintOf(error: ServingError): string;

  protected override async onStart(): Promise<void> {
    this.#polling = this.#poll();
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    this.#stop.abort(new Error("the file is not looked at any more"));
    await this.#polling;
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    const { path, intervalMs } = this.#options;
    while (!signal.aborted) {
      await sleep(this.#clock, intervalMs, signal).catch(() => undefined); // only an abort ends a sleep early
      if (signal.aborted) return;
      try {
        const change = await this.look(signal);
        this.#complaint = ""; // also where the file says again what is in force
        if (change !== undefined) this.#logger.info({ path }, change);
      } catch (reason) {
        if (!signal.aborted) this.#complain(ServingError.from(reason));
      }
    }
  }

  #complain(error: ServingError): void {
    if (this.#complaint === error.message) return;
    this.#complaint = error.message;
    this.#logger.error({ code: error.code, path: this.#options.path }, this.complaintOf(error));
  }
}
