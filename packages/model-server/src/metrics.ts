import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import type { GrpcStatusName } from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { RunRecord } from "./batching/batcher.js";

/** TensorFlow Serving's latency buckets: 10 us x 1.8^i, 33 of them, up to about 20 minutes. */
const LATENCY_BUCKETS_US = exponential(10, 1.8, 33);
const STAGE_BUCKETS_SECONDS = exponential(0.0001, 2, 18);
const ROWS_BUCKETS = exponential(1, 2, 14);
/** Sampling period of the event loop's delay. */
const LOOP_RESOLUTION_MS = 10;

export type EntryPoint = "GRPC" | "REST";

/** Stages of a request: waiting for a run, host segment, row lookup, device segment, encoding the answer. */
export type Stage = "queue" | "host" | "lookup" | "device" | "encode";

/**
 * What the server counts. Names that begin with ":tensorflow:serving:" are TensorFlow Serving's, with its units
 * (microseconds); the others are ours, in seconds, and carry version and signature.
 */
export class ServerMetrics {
  readonly #registry: Registry;
  readonly #requests: Counter<"model_name" | "status">;
  readonly #requestLatency: Histogram<"model_name" | "API" | "entrypoint">;
  readonly #runtimeLatency: Histogram<"model_name" | "API" | "runtime">;
  readonly #stages: Histogram<"stage" | "model" | "version" | "signature">;
  readonly #batchRows: Histogram<"model" | "version" | "signature">;
  readonly #batchRequests: Histogram<"model" | "version" | "signature">;
  readonly #rows: Counter<"model" | "version" | "source">;
  readonly #inFlight: Gauge;
  readonly #loopDelay: IntervalHistogram;
  #stageChildren = new Map<string, Histogram.Internal<"stage" | "model" | "version" | "signature">>();

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    this.#requests = new Counter({
      name: ":tensorflow:serving:request_count",
      help: "The total number of requests.",
      labelNames: ["model_name", "status"],
      registers,
    });
    this.#requestLatency = new Histogram({
      name: ":tensorflow:serving:request_latency",
      help: "Wall time of successful requests, in microseconds.",
      labelNames: ["model_name", "API", "entrypoint"],
      buckets: LATENCY_BUCKETS_US,
      registers,
    });
    this.#runtimeLatency = new Histogram({
      name: ":tensorflow:serving:runtime_latency",
      help: "Wall time of running the model, waiting for a batch included, in microseconds.",
      labelNames: ["model_name", "API", "runtime"],
      buckets: LATENCY_BUCKETS_US,
      registers,
    });
    this.#stages = new Histogram({
      name: "shardserve_stage_seconds",
      help: "Time in each stage of a request (queue, encode) or of a run (host, lookup, device).",
      labelNames: ["stage", "model", "version", "signature"],
      buckets: STAGE_BUCKETS_SECONDS,
      registers,
    });
    const perSignature = { labelNames: ["model", "version", "signature"] as const, buckets: ROWS_BUCKETS, registers };
    this.#batchRows = new Histogram({ name: "shardserve_batch_rows", help: "Rows of a run.", ...perSignature });
    this.#batchRequests = new Histogram({
      name: "shardserve_batch_requests",
      help: "Requests that one run answered.",
      ...perSignature,
    });
    this.#rows = new Counter({
      name: "shardserve_rows_total",
      help: "Embedding rows by where they came from; stale ones are counted there, too.",
      labelNames: ["model", "version", "source"],
      registers,
    });
    this.#inFlight = new Gauge({ name: "shardserve_requests_in_flight", help: "Requests under way.", registers });
    this.#loopDelay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
    this.#loopDelay.enable();
    const loopDelay = this.#loopDelay;
    new Gauge({
      name: "shardserve_event_loop_delay_seconds",
      help: "Delay of the event loop since the last scrape.",
      labelNames: ["quantile"],
      registers,
      collect() {
        for (const quantile of [50, 99, 100]) {
          const delayMs = loopDelay.percentile(quantile) / 1e6 - LOOP_RESOLUTION_MS;
          this.set({ quantile: String(quantile / 100) }, Math.max(delayMs, 0) / 1000);
        }
        loopDelay.reset();
      },
    });
  }

  /** @param model  a name that is served, or "" so that made-up names do not become series */
  requestDone(model: string, api: string, entrypoint: EntryPoint, status: GrpcStatusName, durationMs: number): void {
    this.#requests.inc({ model_name: model, status });
    if (status === "OK") {
      this.#requestLatency.observe({ model_name: model, API: api, entrypoint }, durationMs * 1000);
    }
  }

  runtimeDone(model: string, api: string, durationMs: number): void {
    this.#runtimeLatency.observe({ model_name: model, API: api, runtime: "TF1" }, durationMs * 1000);
  }

  stageDone(stage: Stage, id: ServableId, signature: string, durationMs: number): void {
    const key = `${stage}|${id.version}|${id.name}|${signature}`;
    let child = this.#stageChildren.get(key);
    if (!child) {
      child = this.#stages.labels(stage, id.name, String(id.version), signature);
      this.#stageChildren.set(key, child);
    }
    child.observe(durationMs / 1000);
  }

  runDone(record: RunRecord): void {
    const { id, signature, timings, report } = record;
    this.stageDone("host", id, signature, timings.hostMs);
    this.stageDone("lookup", id, signature, timings.lookupMs);
    this.stageDone("device", id, signature, timings.deviceMs);
    const labels = { model: id.name, version: String(id.version) };
    if (record.rows > 0) this.#batchRows.observe({ ...labels, signature }, record.rows);
    this.#batchRequests.observe({ ...labels, signature }, record.requests);
    if (!report) return;
    this.#rows.inc({ ...labels, source: "cache" }, report.cacheRows);
    this.#rows.inc({ ...labels, source: "shard" }, report.shardRows);
    this.#rows.inc({ ...labels, source: "redis" }, report.redisRows);
    this.#rows.inc({ ...labels, source: "stale" }, report.staleRows);
    this.#rows.inc({ ...labels, source: "default" }, report.defaultRows);
  }

  inFlight(count: number): void {
    this.#inFlight.set(count);
  }

  /** The page that Prometheus reads. */
  page(): Promise<string> {
    return this.#registry.metrics();
  }

  close(): void {
    this.#loopDelay.disable();
  }
}

function exponential(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start * factor ** i);
}
