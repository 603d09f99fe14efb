/** Progress of one long task. A terminal shows a bar, a log gets lines, `--json` and tests get nothing. */
export interface ProgressTask {
  /** Adds to what is done, in the unit of `total`. */
  advance(by: number): void;
  /** Marks the task finished; a second call does nothing. */
  done(): void;
}

/** Shows how far long work is: bars on a terminal, log lines elsewhere. */
export interface Progress {
  /** @param unit  `bytes` are printed as MiB and GiB, anything else as a count */
  task(label: string, total: number, unit: string): ProgressTask;
}

/** Shows nothing. */
export const silentProgress: Progress = { task: () => ({ advance() {}, done() {} }) };
