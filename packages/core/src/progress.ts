/** Progress of one long task. A terminal shows a bar, a log gets lines, `--json` and tests get nothing. */
export interface ProgressTask {
  /** Adds to what is done, in the unit of `total`. */
  advance(by: number): void;
  /** Marks the task finished; a second call does nothing. */
  done(): void;
}

export interface Progress {
  /** @param unit  `bytes` are printed as MiB and GiB, anything else as a count */
  task(label: string, total: number, unit: string): ProgressTask;
}

export const silentProgress: Progress = { task: () => ({ advance() {}, done() {} }) };
