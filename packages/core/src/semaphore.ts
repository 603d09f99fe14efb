import type { CancelSignal } from "./cancel-signal.js";
import { ServingError } from "./errors.js";

/**
 * Counts permits and queues those who wait, in order, up to a bound.
 *
 * The bound is on waiters: a full queue refuses at once instead of growing.
 */
export class Semaphore {
  readonly #capacity: number;
  readonly #waitersMax: number;
  readonly #waiters: { weight: number; grant: () => void }[] = [];
  #free: number;

  constructor(capacity: number, waitersMax: number) {
    this.#capacity = capacity;
    this.#waitersMax = waitersMax;
    this.#free = capacity;
  }

  get free(): number {
    return this.#free;
  }

  get waiting(): number {
    return this.#waiters.length;
  }

  /** Takes `weight` permits if they are free now and nobody waits. */
  tryAcquire(weight = 1): boolean {
    if (this.#waiters.length > 0 || !this.#fits(weight)) return false;
    this.#free -= weight;
    return true;
  }

  /**
   * Takes `weight` permits, waiting in line. More than the capacity counts as all of it.
   *
   * @throws ServingError RESOURCE_EXHAUSTED when the line is full; the signal's reason when it aborts while waiting
   */
  async acquire(weight = 1, signal?: CancelSignal): Promise<void> {
    if (this.tryAcquire(weight)) return;
    if (signal?.aborted) throw signal.reason;
    if (this.#waiters.length >= this.#waitersMax) {
      throw new ServingError(
        "RESOURCE_EXHAUSTED",
        `${this.#waiters.length} callers wait already, the limit is ${this.#waitersMax}`,
      );
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal?.reason as Error);
        this.#grant();
      };
      const waiter = {
        weight,
        grant: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      this.#waiters.push(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Gives back what one `acquire(weight)` took. */
  release(weight = 1): void {
    this.#free += weight;
    this.#grant();
  }

  #fits(weight: number): boolean {
    return this.#free >= weight || this.#free === this.#capacity;
  }

  #grant(): void {
    for (let head = this.#waiters[0]; head && this.#fits(head.weight); head = this.#waiters[0]) {
      this.#waiters.shift();
      this.#free -= head.weight;
      head.grant();
    }
  }
}
