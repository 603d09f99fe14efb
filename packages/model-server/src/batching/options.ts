/** How requests are joined. TensorFlow Serving's name of a parameter stands beside ours. */
export interface BatchingOptions {
  /** False: every request runs alone; the bounds on runs and queue still hold. Default true. */
  readonly isEnabled: boolean;
  /** Rows of a joined run, default 512 (max_batch_size). A single request may be larger; it then runs alone. */
  readonly maxBatchRows: number;
  /** Rows that may wait per version, default 65 536 (max_enqueued_batches x max_batch_size): some tens of milliseconds of a small model's traffic; beyond: UNAVAILABLE. */
  readonly queueRowsMax: number;
  /** Runs of one version under way at once, default 4 (num_batch_threads). What comes meanwhile queues and is joined. */
  readonly runsMax: number;
  /** How long a request may wait for company while a run could start, default 0 (batch_timeout_micros / 1000). */
  readonly timeoutMs: number;
}

export const DEFAULT_BATCHING: BatchingOptions = {
  isEnabled: true,
  maxBatchRows: 512,
  queueRowsMax: 65_536,
  runsMax: 4,
  timeoutMs: 0,
};
