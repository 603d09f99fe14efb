import { Counter, Gauge, Histogram, type Registry } from "prom-client";

const SECONDS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 300];

/** Numbers of streamed updates. */
export class UpdateMetrics {
  /** Rows that were taken in, in force or not yet. */
  readonly rows: Counter<"model">;
  /** Rows of the epoch that was sealed and is not in force yet. */
  readonly pendingRows: Gauge<"model">;
  readonly epochs: Counter<"model" | "result">;
  /** Folds of old epochs that were written, or could not be. */
  readonly folds: Counter<"model" | "result">;
  /** Deltas of the chain in force: what a shard that starts reads. */
  readonly chainDeltas: Gauge<"model">;
  /** From the first batch of an epoch until it is in force. */
  readonly visibleSeconds: Histogram<"model">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.rows = new Counter({
      name: "shardserve_apply_rows_total",
      help: "Rows that were taken from streams, those included that a failed epoch gave back to their senders.",
      labelNames: ["model"],
      registers,
    });
    this.pendingRows = new Gauge({
      name: "shardserve_apply_pending_rows",
      help: "Rows of the epoch that is on its way into force.",
      labelNames: ["model"],
      registers,
    });
    this.epochs = new Counter({
      name: "shardserve_apply_epochs_total",
      help: "Epochs of streamed rows that came into force (result committed), and times that all streams had to begin again (result failed).",
      labelNames: ["model", "result"],
      registers,
    });
    this.folds = new Counter({
      name: "shardserve_apply_folds_total",
      help: "Folds of old epochs that were written (result written), and attempts that failed (result failed).",
      labelNames: ["model", "result"],
      registers,
    });
    this.chainDeltas = new Gauge({
      name: "shardserve_apply_chain_deltas",
      help: "Deltas in force, a fold counted as one: what a shard that starts reads.",
      labelNames: ["model"],
      registers,
    });
    this.visibleSeconds = new Histogram({
      name: "shardserve_apply_visible_seconds",
      help: "Time from an epoch's first batch until it was in force: the greatest lag of its rows.",
      labelNames: ["model"],
      buckets: SECONDS,
      registers,
    });
  }
}
