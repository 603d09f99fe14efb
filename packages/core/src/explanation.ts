/** Where a row can come from. */
export type RowLevel = "cache" | "shard" | "redis" | "stale" | "default";

/** Distinct rows of one table that one place gave, at one epoch. */
export interface GivenRows {
  /** Checkpoint key. */
  readonly table: string;
  readonly level: RowLevel;
  /** The shard that sent them; only of level `shard`. */
  readonly shard?: string;
  readonly epoch: number;
  readonly ids: readonly number[];
}

/** One question of a lookup to a shard or to Redis. */
export interface RowFetch {
  readonly from: "shard" | "redis";
  readonly shard?: string;
  readonly rows: number;
  /** Since the lookup began. */
  readonly startMs: number;
  readonly durationMs: number;
  /** Asked although another replica had been asked, because that one was late. */
  readonly isHedge?: boolean;
  /** `ok`, `overtaken` by another replica, or the code of the error. */
  readonly outcome: string;
}

/** How one lookup got its rows: made only when a request asks for it. */
export interface LookupExplanation {
  readonly rows: readonly GivenRows[];
  readonly fetches: readonly RowFetch[];
}
