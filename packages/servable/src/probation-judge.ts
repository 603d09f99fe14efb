import { type Clock, type Logger, ServingError } from "@shardserve/core";
import type { Harness } from "./harness.js";
import type { ManagerOptions } from "./manager-options.js";
import { onProbation, type Probation, verdictOn } from "./probation-watch.js";

/** Pause between looks at a version on probation. */
const JUDGE_INTERVAL_MS = 1000;

export interface ProbationJudgeOptions extends Pick<ManagerOptions, "probation" | "onRollback"> {
  readonly clock: Clock;
  readonly logger: Logger;
  /** A version has to go, for this. */
  readonly condemn: (candidate: Harness, verdict: ServingError) => void;
  /** Versions are to be looked at again; absent = somebody does so by himself. */
  readonly again?: () => void;
}

/** Watches versions on probation and condemns those that do worse than the one before them. */
export class ProbationJudge {
  readonly #options: ProbationJudgeOptions;
  #isQueued = false;
  #cancel: () => void = () => undefined;

  constructor(options: ProbationJudgeOptions) {
    this.#options = options;
  }

  /** The version of a model that is watched; undefined = none is. */
  watched(harnesses: ReadonlyMap<number, Harness>): Probation | undefined {
    const { probation, clock } = this.#options;
    return onProbation(harnesses, probation, clock.nowMs());
  }

  /** Condemns the version of a model that is watched, or looks again later. */
  judge(harnesses: ReadonlyMap<number, Harness>): void {
    const { probation, onRollback, logger, condemn } = this.#options;
    const watched = this.watched(harnesses);
    if (!probation || !watched) return;
    const { candidate, before } = watched;
    const reason = verdictOn(watched, probation);
    if (reason === undefined) return this.#later();
    const text = `rolled back to version ${before.id.version}: ${reason}`;
    logger.error({ ...candidate.id, to: before.id.version }, text);
    condemn(candidate, new ServingError("ROLLED_BACK", text));
    onRollback?.(candidate.id, before.id.version, reason);
  }

  close(): void {
    this.#cancel();
  }

  #later(): void {
    const { again, clock } = this.#options;
    if (this.#isQueued || !again) return;
    this.#isQueued = true;
    this.#cancel = clock.after(JUDGE_INTERVAL_MS, () => {
      this.#isQueued = false;
      again();
    });
  }
}
