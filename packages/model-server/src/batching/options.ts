/** How requests are joined. TensorFlow Serving's name of a parameter stands beside ours. */
export interface BatchingOptions {
  /** False: every request runs alone; the bounds on runs and queue still hold. Default true. */
  readonly isEnabled: boolean;
  /** Rows of a joined run, default 512 (max_execution_batch_size). */
  readonly maxBatchRows: number;
  /** Rows of one request, default no limit (max_batch_size); beyond: INVALID_ARGUMENT. */
  readonly requestRowsMax: number;
  /**
   * Whether a request of more than maxBatchRows is run in pieces (enable_large_batch_splitting). Default false: it runs
   * alone and whole.
   */
  readonly isLargeSplit: boolean;
  /** Rows that a run may have, ascending (allowed_batch_sizes): runs are filled up to the next. Default empty = any. */
  readonly allowedRows: readonly number[];
  /** Whether requests that differ in inner dimensions are padded to the largest (pad_variable_length_inputs). Default false. */
  readonly isPadded: boolean;
  /** Rows that may wait per version, default 65 536 (max_enqueued_batches x max_batch_size): some tens of milliseconds of a small model's traffic; beyond: UNAVAILABLE. */
  readonly queueRowsMax: number;
  /** Runs of one version under way at once, default 4 (num_batch_threads). What comes meanwhile queues and is joined. */
  readonly runsMax: number;
  /** How long a request may wait for company while a run could start, default 0 (batch_timeout_micros / 1000). */
  readonly timeoutMs: number;
  /**
   * How long a request may wait for its run, default 1000 (--target-latency-ms; Infinity with a parameters file). By the pace of
   * recent runs: a request that would wait longer, or past its deadline, is refused at once (UNAVAILABLE), and joined runs
   * are kept so small that one takes about a tenth of it.
   */
  readonly targetLatencyMs: number;
}

/** Batching where nothing is configured: requests are joined while a run is under way, none waits for others. */
export const DEFAULT_BATCHING: BatchingOptions = {
  isEnabled: true,
  maxBatchRows: 512,
  requestRowsMax: Number.POSITIVE_INFINITY,
  isLargeSplit: false,
  allowedRows: [],
  isPadded: false,
  queueRowsMax: 65_536,
  runsMax: 4,
  timeoutMs: 0,
  targetLatencyMs: 1000,
};
