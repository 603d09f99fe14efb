import type { Random } from "@shardserve/core";
import { Circuit } from "./circuit.js";
import { LatencyHistogram } from "./latency-histogram.js";

/** Weight of one more latency in the moving mean; a slow one counts more, so that trouble shows at once. */
const WEIGHT = 0.1;
const WEIGHT_SLOWER = 0.3;
/** A mean that no answer renews halves in this time: a shard that was slow once is tried again. */
const HALF_LIFE_MS = 5_000;

/** Frames of about one size are compared with each other: up to 16 KiB of rows, 256 KiB, 4 MiB, more. */
const SIZE_CLASS_COUNT = 4;

/** Replies of like size are compared with each other: 0 up to 16 KiB, 1 to 256 KiB, 2 to 4 MiB, 3 above. */
export function sizeClass(rowBytes: number): number {
  if (rowBytes <= 2 ** 14) return 0;
  if (rowBytes <= 2 ** 18) return 1;
  return rowBytes <= 2 ** 22 ? 2 : 3;
}

/** What an executor knows of how a shard answers: mean and p95 of its latency, and whether it is to be avoided. */
export class ShardHealth {
  readonly circuit: Circuit;
  readonly #latencies = Array.from({ length: SIZE_CLASS_COUNT }, () => new LatencyHistogram());
  #meanMs = 0;
  #meanAtMs = 0;

  constructor(random: Random) {
    this.circuit = new Circuit(random);
  }

  /** Latencies of frames of one size class. */
  latencies(size: number): LatencyHistogram {
    return this.#latencies[size]!;
  }

  /** Mean latency over frames of all sizes, in milliseconds; 0 = nothing known. */
  meanMs(nowMs: number): number {
    return this.#meanMs * 0.5 ** (Math.max(0, nowMs - this.#meanAtMs) / HALF_LIFE_MS);
  }

  /** A frame was answered, or was not within `latencyMs`. */
  observe(latencyMs: number, rowBytes: number, nowMs: number): void {
    this.latencies(sizeClass(rowBytes)).record(latencyMs);
    const mean = this.meanMs(nowMs);
    const weight = mean === 0 ? 1 : latencyMs > mean ? WEIGHT_SLOWER : WEIGHT;
    this.#meanMs = mean + weight * (latencyMs - mean);
    this.#meanAtMs = nowMs;
  }
}
