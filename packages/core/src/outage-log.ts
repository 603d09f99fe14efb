import type { Clock } from "./clock.js";
import type { ServingError } from "./errors.js";
import type { Logger } from "./logger.js";

/** How often it is said again that something still fails, in milliseconds. */
const REMINDER_MS = 60_000;

/**
 * The log of something that is tried again until it works. Said are: that it fails, another code of the error, once a minute that it still
 * fails, and that it works again. All other attempts are for `debug`, so that an outage of hours does not fill the logs of a fleet.
 */
export class OutageLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #whenFailing: string;
  readonly #whenOver: string;
  #code = "";
  #attempts = 0;
  #beganMs = 0;
  #saidMs = 0;

  constructor(logger: Logger, clock: Clock, whenFailing: string, whenOver: string) {
    this.#logger = logger;
    this.#clock = clock;
    this.#whenFailing = whenFailing;
    this.#whenOver = whenOver;
  }

  /** An attempt failed. */
  failed(error: ServingError, fields: object = {}): void {
    const nowMs = this.#clock.nowMs();
    if (this.#attempts === 0) this.#beganMs = nowMs;
    this.#attempts++;
    const isNews = this.#attempts === 1 || error.code !== this.#code || nowMs - this.#saidMs >= REMINDER_MS;
    const all = { ...fields, error: error.message, attempts: this.#attempts };
    if (!isNews) return this.#logger.debug(all, this.#whenFailing);
    this.#code = error.code;
    this.#saidMs = nowMs;
    this.#logger.warn(all, this.#whenFailing);
  }

  /** An attempt succeeded; without an outage before it this says nothing. */
  works(fields: object = {}): void {
    if (this.#attempts === 0) return;
    const seconds = Math.round((this.#clock.nowMs() - this.#beganMs) / 1000);
    this.#logger.info({ ...fields, attempts: this.#attempts, seconds }, this.#whenOver);
    this.#attempts = 0;
  }
}
