/**
 * Work that is asked for again and again and done one run at a time. Asking while it runs has it run once more: what was
 * asked for last is never missed, however close to the end of a run, and many who ask meanwhile cost one run.
 *
 * Use it wherever something is brought up to date in the background. (A promise that `finally` forgets is not the same: who
 * comes between its end and that callback finds it there, and nothing runs again.)
 */
export class RepeatedWork {
  readonly #run: () => Promise<void>;
  #isAsked = false;
  #running: Promise<void> | undefined;

  /** @param run  one run, brings everything up to date; it handles its errors: a rejection is a bug and ends the process */
  constructor(run: () => Promise<void>) {
    this.#run = run;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Runs it; when it runs already, once more afterwards. */
  ask(): void {
    this.#isAsked = true;
    this.#running ??= this.#repeat();
  }

  /** Resolves when everything that was asked for until then is done; at once when nothing runs. */
  async whenIdle(): Promise<void> {
    await this.#running;
  }

  async #repeat(): Promise<void> {
    try {
      while (this.#isAsked) {
        this.#isAsked = false;
        await this.#run();
      }
    } finally {
      this.#running = undefined; // in one turn with the last look at #isAsked: nobody asks in between
    }
  }
}
