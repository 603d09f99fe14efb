import type { CancelSignal, Clock, Semaphore } from "@shardserve/core";
import type { OrtSession, OrtValue } from "@shardserve/native";
import { RunPace } from "../steps/run-pace.js";

/** A session of ONNX Runtime that learns which of its runs are quick enough for the event loop. */
export class PacedSession {
  readonly session: OrtSession;
  readonly #clock: Clock;
  readonly #runs: Semaphore;
  readonly #isUnpredictable: boolean;
  readonly #pace = new RunPace();

  /**
   * @param isUnpredictable  whether its time follows from the values of its inputs: it never runs on the event loop
   * @param runs             places for runs on other threads; shared by the sessions of a model
   */
  constructor(session: OrtSession, isUnpredictable: boolean, clock: Clock, runs: Semaphore) {
    this.session = session;
    this.#isUnpredictable = isUnpredictable;
    this.#clock = clock;
    this.#runs = runs;
  }

  /**
   * @param size    elements of the feeds that say how much work there is
   * @param wanted  indexes of the outputs; absent = all
   * @returns the caller disposes of them
   * @throws ServingError RESOURCE_EXHAUSTED; what the session throws
   */
  async run(
    feeds: readonly OrtValue[],
    size: number,
    options: {
      readonly outputs?: readonly number[];
      readonly signal?: CancelSignal | undefined;
      readonly isAlone?: (() => boolean) | undefined;
    },
  ): Promise<OrtValue[]> {
    const { signal, isAlone, ...wanted } = options;
    if (!this.#isUnpredictable && this.#pace.isQuick(size, isAlone)) {
      const startMs = this.#clock.nowMs();
      const results = this.session.runSync(feeds, wanted);
      this.#pace.ranSync(size, this.#clock.nowMs() - startMs);
      return results;
    }
    await this.#runs.acquire(1, signal);
    try {
      const startMs = this.#clock.nowMs();
      const results = await this.session.run(feeds, { ...wanted, signal });
      this.#pace.ranAsync(size, this.#clock.nowMs() - startMs);
      return results;
    } finally {
      this.#runs.release();
    }
  }
}
