const SAMPLES = 8;
/** The sample that counts, of the sorted ones. */
const QUARTILE = 2;
/** Rows of a joined run before anything is known, and at least, whatever is known: small runs look slow by the row. */
const RUN_ROWS_START = 64;
const RUN_ROWS_MIN = 8;
/** A run may take this much longer than it should before the next ones get smaller. */
const TOLERANCE = 1.25;

/**
 * How fast the runs of one version are, and how many rows one should have.
 *
 * Time per row is the lower quartile of the last few runs: when requests queue, runs get larger and rows cheaper, and two
 * such runs are enough to know it; and a run that warms up, or that the collector stopped, says nothing of the next. The
 * size of runs follows what would fit into their time, to the double or the half at most by one run.
 */
export class Pace {
  readonly #rowsMax: number;
  readonly #runMs: number;
  readonly #perRow = new Float64Array(SAMPLES);
  readonly #perRun = new Float64Array(SAMPLES);
  #count = 0;
  #msPerRow = 0;
  #msPerRun = 0;
  #runRows: number;

  /**
   * @param rowsMax  rows that a run may ever have
   * @param runMs  time that a joined run should take at most; Infinity = any
   */
  constructor(rowsMax: number, runMs: number) {
    this.#rowsMax = rowsMax;
    this.#runMs = runMs;
    this.#runRows = runMs === Number.POSITIVE_INFINITY ? rowsMax : Math.min(rowsMax, RUN_ROWS_START);
  }

  /** @param rows  of the run, at least 1 */
  runDone(rows: number, durationMs: number): void {
    const at = this.#count++ % SAMPLES;
    this.#perRow[at] = durationMs / rows;
    this.#perRun[at] = durationMs;
    if (this.#count >= SAMPLES) {
      this.#msPerRow = quartile(this.#perRow);
      this.#msPerRun = quartile(this.#perRun);
    }
    if (this.#runMs === Number.POSITIVE_INFINITY) return;
    const fit = Math.floor((rows * this.#runMs) / Math.max(durationMs, Number.MIN_VALUE));
    const isFull = rows * 4 >= this.#runRows * 3;
    if (durationMs > this.#runMs * TOLERANCE) {
      this.#runRows = Math.min(this.#runRows, Math.max(fit, this.#runRows >> 1, RUN_ROWS_MIN));
    } else if (isFull) {
      this.#runRows = Math.max(this.#runRows, Math.min(fit, this.#runRows * 2, this.#rowsMax));
    }
  }

  /** 0 until enough runs have ended. */
  get msPerRow(): number {
    return this.#msPerRow;
  }

  /** Time of one run of whatever number of rows; 0 until enough runs have ended. */
  get msPerRun(): number {
    return this.#msPerRun;
  }

  /** Rows that the next joined run may have. */
  get runRows(): number {
    return this.#runRows;
  }
}

const sorted = new Float64Array(SAMPLES);

function quartile(samples: Float64Array): number {
  sorted.set(samples);
  sorted.sort();
  return sorted[QUARTILE]!;
}
