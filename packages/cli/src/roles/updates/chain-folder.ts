import { type Clock, isServingError, type Logger, ServingError } from "@shardserve/core";
import type { EpochRecord } from "@shardserve/registry";
import type { EpochPlace } from "./epoch-place.js";
import { foldUpTo } from "./fold-chain.js";
import type { UpdateMetrics } from "./update-metrics.js";

/** Deltas behind the newest fold, at most: a chain must have room for those that come while one is written. */
export const UNFOLDED_MAX = 900;
const RETRY_MS = 10_000;

export interface FoldSettings {
  /** Newest epochs that are never folded: the ways back. */
  readonly keepEpochs: number;
  /** Deltas behind those that become one fold. */
  readonly foldEpochs: number;
}

export interface ChainFolderOptions extends FoldSettings {
  readonly place: EpochPlace;
  readonly model: string;
  readonly version: number;
  readonly metrics: UpdateMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Keeps the chain of a version's deltas short, so that a stream can go on for ever: once enough old ones have gathered it
 * writes their fold, which the leader puts in their place, and removes what nobody reads any more. It works beside the stream
 * and keeps nothing: another process goes on from what is on the disk and in force.
 */
export class ChainFolder {
  readonly #options: ChainFolderOptions;
  readonly #stop = new AbortController();
  #work: Promise<void> | undefined;
  #retryAtMs = 0;
  /** Epoch of the fold for which the disk was tidied. */
  #tidiedFor = 0;

  constructor(options: ChainFolderOptions) {
    this.#options = options;
  }

  /** Looks at the chain in force. What there is to do goes on in the background. */
  observe(chain: readonly EpochRecord[]): void {
    const { clock, metrics, logger, model, version } = this.#options;
    if (this.#work || this.#stop.signal.aborted || clock.nowMs() < this.#retryAtMs) return;
    this.#work = this.#advance(chain)
      .catch((error: unknown) => {
        this.#retryAtMs = clock.nowMs() + RETRY_MS;
        if (this.#stop.signal.aborted || isServingError(error, "OUTPUT_EXISTS")) return; // another process folds it
        metrics.folds.inc({ model, result: "failed" });
        logger.error({ model, version, error: ServingError.from(error).message }, "deltas cannot be folded");
      })
      .finally(() => (this.#work = undefined));
  }

  /** Stops; a fold that was begun is left out. */
  close(): void {
    this.#stop.abort(new ServingError("DRAINING", "the process is draining"));
  }

  async #advance(chain: readonly EpochRecord[]): Promise<void> {
    const { place, keepEpochs, foldEpochs } = this.#options;
    const foldedUpTo = chain[0]?.fold === undefined ? 0 : chain[0].epoch;
    if (foldedUpTo > this.#tidiedFor) await this.#tidy(foldedUpTo);
    const unfolded = chain.filter(({ epoch }) => epoch > foldedUpTo);
    if (unfolded.length < keepEpochs + foldEpochs) return;
    const { signal } = this.#stop;
    const waiting = await place.waitingFolds(foldedUpTo, (error) => this.#onDamage(error), signal);
    if (unfolded.some(({ epoch }) => waiting.includes(epoch))) return; // the leader takes it up
    await this.#fold(unfolded[unfolded.length - 1 - keepEpochs] as EpochRecord);
  }

  async #fold(last: EpochRecord): Promise<void> {
    const { clock, metrics, logger, model, version } = this.#options;
    const startMs = clock.nowMs();
    const { deltas } = await foldUpTo(this.#options.place, last, this.#stop.signal);
    metrics.folds.inc({ model, result: "written" });
    const ms = Math.round(clock.nowMs() - startMs);
    logger.info({ model, version, epoch: last.epoch, deltas, ms }, "fold written");
  }

  #onDamage(error: ServingError): void {
    const { metrics, logger, model, version } = this.#options;
    metrics.folds.inc({ model, result: "failed" });
    logger.error({ model, version, error: error.message }, "a damaged fold is written anew");
  }

  async #tidy(inForce: number): Promise<void> {
    const { place, logger, model, version } = this.#options;
    const removed = await place.forgetFolded(inForce, this.#stop.signal);
    this.#tidiedFor = inForce;
    if (removed > 0) logger.info({ model, version, removed }, "folded deltas removed");
  }
}
