/**
 * Divides work over turns of the event loop: once a turn has cost enough, what comes waits, in order, for the next ones,
 * so that timers and other connections are never kept waiting for long.
 */
export class Turns {
  readonly #costMax: number;
  readonly #onEnd: () => void;
  readonly #postponed: (() => void)[] = [];
  #cost = 0;
  #isWatched = false;

  /**
   * @param costMax  what a turn may cost before the rest waits, in any unit
   * @param onEnd    called after postponed work was done
   */
  constructor(costMax: number, onEnd: () => void) {
    this.#costMax = costMax;
    this.#onEnd = onEnd;
  }

  /** True when new work has to be postponed. */
  get isSpent(): boolean {
    return this.#cost >= this.#costMax || this.#postponed.length > 0;
  }

  spend(cost: number): void {
    this.#cost += cost;
    this.#watch();
  }

  /** Does the work in a later turn, after what was postponed before. */
  postpone(work: () => void): void {
    this.#postponed.push(work);
    this.#watch();
  }

  #watch(): void {
    if (this.#isWatched) return;
    this.#isWatched = true;
    setImmediate(() => this.#begin());
  }

  #begin(): void {
    this.#isWatched = false;
    this.#cost = 0;
    let done = 0;
    while (done < this.#postponed.length && this.#cost < this.#costMax) (this.#postponed[done++] as () => void)();
    if (done === 0) return;
    this.#postponed.splice(0, done);
    if (this.#postponed.length > 0) this.#watch();
    this.#onEnd();
  }
}
