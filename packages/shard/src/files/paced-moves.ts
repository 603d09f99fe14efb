import { type BytePace, RepeatedWork, ServingError } from "@shardserve/core";
import type { VersionFiles } from "./version-files.js";

/** A partition file that is to come here from another shard, or be read for the first time. */
export interface Move {
  readonly files: VersionFiles;
  readonly path: string;
  /** Asked when its turn has come. */
  readonly isWanted: () => boolean;
  readonly onFetched: () => void;
  readonly onFailed: (error: ServingError) => void;
}

/**
 * Fetches the files of partitions that move here, one at a time and at a bounded rate, beside everything else that a shard
 * loads: neither a restart nor a rollout nor a delta waits for a move that takes its time.
 */
export class PacedMoves {
  readonly #pace: BytePace;
  readonly #waiting: Move[] = [];
  readonly #stop = new AbortController();
  #current: Move | undefined;
  readonly #work = new RepeatedWork(() => this.#run());

  constructor(pace: BytePace) {
    this.#pace = pace;
  }

  /** Takes up a move, unless it is under way already. */
  fetch(move: Move): void {
    const isSame = ({ files, path }: Move) => files === move.files && path === move.path;
    if ((this.#current && isSame(this.#current)) || this.#waiting.some(isSame) || this.#stop.signal.aborted) return;
    this.#waiting.push(move);
    this.#work.ask();
  }

  /** Ends; a copy that was begun goes on from there another time. */
  async close(): Promise<void> {
    this.#stop.abort(new ServingError("DRAINING", "the shard closes"));
    await this.#work.whenIdle();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let move = this.#waiting.shift(); move && !signal.aborted; move = this.#waiting.shift()) {
      if (!move.isWanted()) continue;
      this.#current = move;
      try {
        await move.files.provide(move.path, signal, this.#pace);
        move.onFetched();
      } catch (error) {
        if (!signal.aborted) move.onFailed(ServingError.from(error));
      } finally {
        this.#current = undefined;
      }
    }
  }
}
