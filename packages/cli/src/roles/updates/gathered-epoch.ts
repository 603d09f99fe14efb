import { ServingError } from "@shardserve/core";
import { EPOCH_ROWS_MAX, PendingRows, type TableRows } from "@shardserve/exporter";
import { SOURCES_MAX, type TableInfo } from "@shardserve/rowstore";

export interface GatheredEpochOptions {
  /** "model/version", for errors. */
  readonly name: string;
  readonly tables: readonly TableInfo[];
  /** Bytes of rows that it takes. */
  readonly bytesMax: number;
}

/** Rows of one epoch on their way, and how far each source is with them. */
export class GatheredEpoch {
  readonly rows: PendingRows;
  /** When the first batch came; undefined = none has. */
  sinceMs: number | undefined;
  readonly #options: GatheredEpochOptions;
  readonly #accepted: Map<string, number>;

  /** @param accepted  how far each source is without it */
  constructor(options: GatheredEpochOptions, accepted: ReadonlyMap<string, number>) {
    this.#options = options;
    this.rows = new PendingRows(options.tables);
    this.#accepted = new Map(accepted);
  }

  /** How far each source is with it. */
  get accepted(): ReadonlyMap<string, number> {
    return this.#accepted;
  }

  /** The epoch that follows it. */
  next(): GatheredEpoch {
    return new GatheredEpoch(this.#options, this.#accepted);
  }

  /** True when the source's batch is in it, or in an epoch before it. */
  knows(source: string, sequence: number): boolean {
    return sequence <= (this.#accepted.get(source) ?? 0);
  }

  /**
   * Takes the source's next batch.
   *
   * @returns how many rows it has; undefined = there is no room for it in this epoch
   * @throws ServingError FAILED_PRECONDITION on a gap, INVALID_ARGUMENT, ROW_OUT_OF_RANGE, RESOURCE_EXHAUSTED
   */
  take(source: string, sequence: number, batch: readonly TableRows[]): number | undefined {
    const { name, bytesMax } = this.#options;
    const last = this.#accepted.get(source) ?? 0;
    if (sequence !== last + 1)
      throw new ServingError(
        "FAILED_PRECONDITION",
        `${name}: batch ${sequence} of ${source} came after ${last}; send ${last + 1} first`,
      );
    if (last === 0 && this.#accepted.size >= SOURCES_MAX)
      throw new ServingError("RESOURCE_EXHAUSTED", `a version remembers ${SOURCES_MAX} sources; reuse their names`);
    const more = this.rows.check(batch);
    if (more.rows === 0) throw new ServingError("INVALID_ARGUMENT", `batch ${sequence} of ${source} has no rows`);
    if (more.rows > EPOCH_ROWS_MAX || more.bytes > bytesMax)
      throw new ServingError(
        "INVALID_ARGUMENT",
        `batch ${sequence} of ${source} has ${more.rows} rows, ${more.bytes} bytes; an epoch takes ${EPOCH_ROWS_MAX} rows, ${bytesMax} bytes`,
      );
    if (this.rows.count + more.rows > EPOCH_ROWS_MAX || this.rows.bytes + more.bytes > bytesMax) return undefined;
    this.rows.put(batch);
    this.#accepted.set(source, sequence);
    return more.rows;
  }
}
