import type { Clock } from "@shardserve/core";
import { Gauge, Histogram, type Registry } from "prom-client";
import type { ServedVersion } from "./versions/served-version.js";

const SECONDS = [0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 300, 1800, 7200];

/** Numbers of the deltas that a shard holds. */
export class EpochMetrics {
  readonly #epoch: Gauge<"model" | "version" | "state">;
  readonly #rows: Gauge<"model" | "version">;
  readonly #bytes: Gauge<"model" | "version">;
  readonly #seconds: Histogram<"model" | "state">;
  /** Newest epoch that was counted, by version and state: an epoch becomes staged, and visible, once. */
  readonly #counted = new WeakMap<ServedVersion, { staged: number; visible: number }>();

  constructor(registry: Registry) {
    const registers = [registry];
    this.#epoch = new Gauge({
      name: "shardserve_shard_epoch",
      help: "Epoch in force (state visible) and newest one in memory (state staged).",
      labelNames: ["model", "version", "state"],
      registers,
    });
    this.#rows = new Gauge({
      name: "shardserve_shard_overlay_rows",
      help: "Rows of deltas in memory, superseded ones that may still be asked for included.",
      labelNames: ["model", "version"],
      registers,
    });
    this.#bytes = new Gauge({
      name: "shardserve_shard_overlay_bytes",
      help: "Bytes of rows of deltas in memory, and of their indexes.",
      labelNames: ["model", "version"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "shardserve_shard_delta_seconds",
      help: "Age of a delta, since the end of its export, when it was in memory here (state staged) and in force (state visible): freshness.",
      labelNames: ["model", "state"],
      buckets: SECONDS,
      registers,
    });
  }

  /** After deltas were read or dropped. */
  observe(served: ServedVersion, clock: Clock): void {
    const { model, epochs, set } = served;
    const version = String(served.version);
    const { rows, bytes } = set.overlay.use;
    this.#rows.set({ model, version }, rows);
    this.#bytes.set({ model, version }, bytes);
    const { epoch } = epochs.newest;
    this.#epoch.set({ model, version, state: "staged" }, epoch);
    this.#count(served, "staged", epoch, clock);
  }

  /** After the maps said which epoch is in force. */
  committed(served: ServedVersion, clock: Clock): void {
    this.#epoch.set({ model: served.model, version: String(served.version), state: "visible" }, served.epoch);
    this.#count(served, "visible", served.epoch, clock);
  }

  forget(served: ServedVersion): void {
    const labels = { model: served.model, version: String(served.version) };
    this.#rows.remove(labels);
    this.#bytes.remove(labels);
    for (const state of ["staged", "visible"]) this.#epoch.remove({ ...labels, state });
  }

  #count(served: ServedVersion, state: "staged" | "visible", epoch: number, clock: Clock): void {
    const counted = this.#counted.get(served) ?? { staged: 0, visible: 0 };
    this.#counted.set(served, counted);
    const createdAtMs = served.epochs.createdAtMs(epoch);
    if (epoch <= counted[state] || createdAtMs === undefined) return;
    counted[state] = epoch;
    this.#seconds.observe({ model: served.model, state }, Math.max(0, clock.wallMs() - createdAtMs) / 1000);
  }
}
