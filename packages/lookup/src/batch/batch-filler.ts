import { ServingError } from "@shardserve/core";
import { LookupBatch } from "./batch.js";
import type { WantedIds } from "./batch-part.js";
import { type Claimed, claimInTurns, IDS_PER_TURN } from "./claim-in-turns.js";
import { fetchMisses } from "../fetch/fetch.js";
import type { FetchContext, FetchOptions } from "../fetch/fetch-context.js";
import { FillBoard } from "../cache/fill-board.js";
import type { TableStates } from "../cache/table-states.js";

/**
 * Makes batches of a version and sees that all their rows are there: those that nobody has are fetched, those that another
 * batch is fetching are waited for.
 */
export class BatchFiller {
  readonly #states: TableStates;
  readonly #context: FetchContext;
  readonly #cacheEraAt: (epoch: number) => number;
  readonly #board = new FillBoard();
  #lastBatch = 0;

  /** @param cacheEraAt  which era of the cache answers at an epoch; -1 = none. It is asked again while ids are claimed */
  constructor(states: TableStates, context: FetchContext, cacheEraAt: (epoch: number) => number) {
    this.#states = states;
    this.#context = context;
    this.#cacheEraAt = cacheEraAt;
  }

  /**
   * @returns a batch all of whose rows are there, pinned until the caller releases it
   * @throws ServingError as {@link fetchMisses}; the signal's reason. Nothing is pinned then
   */
  async fill(wanted: readonly WantedIds[], epoch: number, options: FetchOptions): Promise<LookupBatch> {
    let batch: LookupBatch | undefined;
    let uncached: ReadonlySet<number> | undefined;
    try {
      for (;;) {
        const claimed = this.#newBatch(wanted, epoch, options, uncached);
        batch = claimed;
        let others: Promise<boolean> | undefined;
        if (claimed.idCount <= IDS_PER_TURN) others = this.#claimAtOnce(claimed);
        else {
          const result = await this.#claimInTurns(claimed, epoch, options);
          if ("takenBack" in result) {
            if (result.takenBack === "no room") uncached = new Set([...(uncached ?? []), claimed.noRoom]);
            claimed.release();
            continue;
          }
          others = result.others;
        }
        options.trace?.begin(claimed);
        if (await this.#complete(claimed, others, options)) return claimed;
        claimed.release();
        this.#checkTime(options);
      }
    } catch (error) {
      batch?.release();
      throw error;
    }
  }

  #newBatch(
    wanted: readonly WantedIds[],
    epoch: number,
    { degrade }: FetchOptions,
    uncached: ReadonlySet<number> | undefined,
  ): LookupBatch {
    const cacheEra = this.#cacheEraAt(epoch);
    const options = { epoch, cacheEra, isDetached: degrade !== undefined, ...(uncached && { uncached }) };
    return new LookupBatch(this.#nextBatch(), this.#states.all, wanted, options);
  }

  /** @returns resolves when the rows that others fetch are there; undefined when it needs none of them */
  #claimAtOnce(batch: LookupBatch): Promise<boolean> | undefined {
    batch.claim();
    if (batch.missCount > 0) this.#board.begin(batch.id);
    const waits = batch.takeWaits();
    return waits.size > 0 ? this.#board.whenAllFilled(waits) : undefined;
  }

  #claimInTurns(batch: LookupBatch, epoch: number, options: FetchOptions): Promise<Claimed> {
    const era = this.#cacheEraAt(epoch);
    return claimInTurns(
      batch,
      this.#board,
      () => !batch.usesCache || this.#cacheEraAt(epoch) === era,
      () => {
        options.signal?.throwIfAborted();
        this.#checkTime(options);
      },
    );
  }

  #checkTime({ deadlineMs }: FetchOptions): void {
    if (this.#context.clock.nowMs() < deadlineMs) return;
    throw this.#late();
  }

  /** @returns false when another batch let this one down: claim again */
  async #complete(batch: LookupBatch, others: Promise<boolean> | undefined, options: FetchOptions): Promise<boolean> {
    if (batch.missCount > 0) await this.#fill(batch, options);
    else this.#board.end(batch.id, true);
    return others === undefined || this.#untilDeadline(others, options);
  }

  async #fill(batch: LookupBatch, options: FetchOptions): Promise<void> {
    let isFilled = false;
    try {
      await fetchMisses(batch, this.#context, options);
      isFilled = true;
    } finally {
      if (!isFilled) batch.abandon();
      this.#board.end(batch.id, isFilled);
    }
  }

  async #untilDeadline(others: Promise<boolean>, { signal, deadlineMs }: FetchOptions): Promise<boolean> {
    let stop: () => void = () => undefined;
    const limit = new Promise<never>((_, reject) => {
      const { clock } = this.#context;
      const cancelTimer = clock.after(deadlineMs - clock.nowMs(), () => reject(this.#late()));
      const onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener("abort", onAbort, { once: true });
      stop = () => {
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
      };
    });
    try {
      return await Promise.race([others, limit]);
    } finally {
      stop();
    }
  }

  #late(): ServingError {
    return new ServingError("DEADLINE_EXCEEDED", `rows of ${this.#context.servable} were not fetched in time`);
  }

  #nextBatch(): number {
    if (this.#lastBatch === 2 ** 31 - 1) {
      this.#lastBatch = 0;
      this.#states.forgetStamps();
    }
    return ++this.#lastBatch;
  }
}
