import { readFile } from "node:fs/promises";
import { type Clock, type Logger, Service, ServingError, silentLogger, sleep, systemClock } from "@shardserve/core";

const INTERVAL_MS = 2000;

export interface WatchedFileOptions<T> {
  readonly path: string;
  /** What the file said when it was read first. */
  readonly text: string;
  /** @throws ServingError when the text is refused; what was in force before stays */
  readonly parse: (text: string, path: string) => T;
  readonly onChange: (value: T) => void;
  /** Pause between looks, default 2000. */
  readonly intervalMs?: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * Looks at a small file again and again and hands on what it says when that has changed. By content, not by notification:
 * mounted secrets are swapped through links that watchers do not see.
 */
export class WatchedFile<T> extends Service {
  readonly #options: WatchedFileOptions<T>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #text: string;
  #complaint = "";
  #polling: Promise<void> = Promise.resolve();

  constructor(options: WatchedFileOptions<T>) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#text = options.text;
  }

  protected override async onStart(): Promise<void> {
    this.#polling = this.#poll();
  }

  protected override async onDrain(): Promise<void> {}

  protected override async onClose(): Promise<void> {
    this.#stop.abort(new Error("the file is not watched any more"));
    await this.#polling;
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    const { path, intervalMs = INTERVAL_MS, parse, onChange } = this.#options;
    while (!signal.aborted) {
      await sleep(this.#clock, intervalMs, signal).catch(() => undefined); // only an abort ends a sleep early
      if (signal.aborted) return;
      try {
        const text = await readWatched(path);
        if (text === this.#text) continue;
        const value = parse(text, path);
        onChange(value);
        this.#text = text;
        this.#complaint = "";
        this.#logger.info({ path }, "the file changed and is in force");
      } catch (reason) {
        this.#complain(ServingError.from(reason));
      }
    }
  }

  #complain(error: ServingError): void {
    if (this.#complaint === error.message) return;
    this.#complaint = error.message;
    const text = `${error.message}; what was read before stays in force`;
    this.#logger.error({ code: error.code, path: this.#options.path }, text);
  }
}

/** @throws ServingError NOT_FOUND when the file cannot be read */
export async function readWatched(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  });
}
