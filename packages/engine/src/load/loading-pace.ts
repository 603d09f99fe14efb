import { setImmediate as nextTurn } from "node:timers/promises";
import type { LoadPace } from "./options.js";

/**
 * The pace of one model while it loads. What its requests need of it later, such as a plan for inputs of another rank, is
 * traffic itself: it lets others run, and does not rest for them.
 */
export class LoadingPace implements LoadPace {
  #pace: LoadPace | undefined;

  constructor(pace: LoadPace) {
    this.#pace = pace;
  }

  get isBusy(): boolean {
    return this.#pace?.isBusy ?? false;
  }

  pause(): Promise<void> {
    return this.#pace?.pause() ?? nextTurn();
  }

  /** The model is loaded. */
  end(): void {
    this.#pace = undefined;
  }
}
