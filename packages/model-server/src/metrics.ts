import type { GrpcStatusName } from "@shardserve/core";
import type { ServableId } from "@shardserve/servable";
import { Gauge, type Registry } from "prom-client";
import type { RunRecord } from "./batching/batcher.js";
import { EventLoopDelay } from "./event-loop-delay.js";
import { metricsPage } from "./metrics-page.js";
import { Counter, type CounterSeries, Histogram, type HistogramSeries } from "./meters.js";
import { SHADOW_OUTCOMES, type ShadowOutcome } from "./predict/shadow.js";

/** TensorFlow Serving's latency buckets: 10 us x 1.8^i, 33 of them, up to about 20 minutes. */
const LATENCY_BUCKETS_US = exponential(10, 1.8, 33);
const STAGE_BUCKETS_SECONDS = exponential(0.0001, 2, 18);
const ROWS_BUCKETS = exponential(1, 2, 14);

export type EntryPoint = "GRPC" | "REST";

/** Stages of a request: waiting for a run, host segment, row lookup, device segment, encoding the answer. */
export type Stage = (typeof STAGES)[number];
const STAGES = ["queue", "host", "lookup", "device", "encode"] as const;
type RowOrigin = "cache" | "shard" | "redis" | "stale" | "default";

/** The series of one signature of one version, looked up once. */
interface SignatureMeters extends Record<Stage, HistogramSeries> {
  readonly id: ServableId;
  readonly signature: string;
  readonly batchRows: HistogramSeries;
  readonly batchRequests: HistogramSeries;
  /** By table and where rows came from, each made with its first row. */
  readonly rows: Map<string, Map<RowOrigin, CounterSeries>>;
}

/**
 * What the server counts. Names that begin with ":tensorflow:serving:" are TensorFlow Serving's, with its units
 * (microseconds); the others are ours, in seconds, and carry version and signature.
 */
export class ServerMetrics {
  readonly #registry: Registry;
  readonly #requests: Counter;
  readonly #requestLatency: Histogram;
  readonly #runtimeLatency: Histogram;
  readonly #logged: Counter;
  readonly #stages: Histogram;
  readonly #batchRows: Histogram;
  readonly #batchRequests: Histogram;
  readonly #rows: Counter;
  readonly #shadows: Counter;
  readonly #loopDelay: EventLoopDelay;
  readonly #meters = new Map<string, SignatureMeters>();
  /** The same by the version itself, as requests find them. */
  #metersById = new WeakMap<ServableId, Map<string, SignatureMeters>>();

  /**
   * Both are asked for with each page.
   *
   * @param inFlight  requests under way
   * @param broken  versions with signatures that are refused, and how many
   */
  constructor(
    registry: Registry,
    inFlight: () => number,
    broken: () => readonly { readonly id: ServableId; readonly count: number }[],
  ) {
    this.#registry = registry;
    this.#requests = new Counter({
      name: ":tensorflow:serving:request_count",
      help: "The total number of requests.",
      labelNames: ["model_name", "status"],
      registry,
    });
    this.#requestLatency = new Histogram({
      name: ":tensorflow:serving:request_latency",
      help: "Wall time of successful requests, in microseconds.",
      labelNames: ["model_name", "API", "entrypoint"],
      buckets: LATENCY_BUCKETS_US,
      registry,
    });
    this.#runtimeLatency = new Histogram({
      name: ":tensorflow:serving:runtime_latency",
      help: "Wall time of running the model, waiting for a batch included, in microseconds.",
      labelNames: ["model_name", "API", "runtime"],
      buckets: LATENCY_BUCKETS_US,
      registry,
    });
    this.#logged = new Counter({
      name: ":tensorflow:serving:request_log_count",
      help: "Requests that were to be logged, by what became of them.",
      labelNames: ["model_name", "status_code"],
      registry,
    });
    this.#stages = new Histogram({
      name: "shardserve_stage_seconds",
      help: "Time in each stage of a request (queue, encode) or of a run (host, lookup, device).",
      labelNames: ["stage", "model", "version", "signature"],
      buckets: STAGE_BUCKETS_SECONDS,
      registry,
    });
    const perSignature = { labelNames: ["model", "version", "signature"], buckets: ROWS_BUCKETS, registry };
    this.#batchRows = new Histogram({ name: "shardserve_batch_rows", help: "Rows of a run.", ...perSignature });
    this.#batchRequests = new Histogram({
      name: "shardserve_batch_requests",
      help: "Requests that one run answered.",
      ...perSignature,
    });
    this.#rows = new Counter({
      name: "shardserve_rows_total",
      help: "Embedding rows by where they came from; stale ones are counted there, too.",
      labelNames: ["model", "version", "table", "source"],
      registry,
    });
    this.#shadows = new Counter({
      name: "shardserve_shadow_requests_total",
      help: "Requests copied to a shadow version, by how its answer compared.",
      labelNames: ["model", "version", "outcome"],
      registry,
    });
    const registers = [registry];
    new Gauge({
      name: "shardserve_requests_in_flight",
      help: "Requests under way.",
      registers,
      collect() {
        this.set(inFlight());
      },
    });
    new Gauge({
      name: "shardserve_broken_signatures",
      help: "Signatures of versions that are served which every request for is refused.",
      labelNames: ["model", "version"],
      registers,
      collect() {
        this.reset();
        for (const { id, count } of broken()) this.set({ model: id.name, version: String(id.version) }, count);
      },
    });
    this.#loopDelay = new EventLoopDelay(registry);
  }

  /** @param model  a name that is served, or "" so that made-up names do not become series */
  requestDone(model: string, api: string, entrypoint: EntryPoint, status: GrpcStatusName, durationMs: number): void {
    this.#requests.labels(model, status).inc();
    if (status === "OK") this.#requestLatency.labels(model, api, entrypoint).observe(durationMs * 1000);
  }

  /** @param status  OK, RESOURCE_EXHAUSTED when it was dropped, else why it could not be written */
  requestLogged(model: string, status: string, count: number): void {
    this.#logged.labels(model, status).inc(count);
  }

  runtimeDone(model: string, api: string, durationMs: number): void {
    this.#runtimeLatency.labels(model, api, "TF1").observe(durationMs * 1000);
  }

  stageDone(stage: Stage, id: ServableId, signature: string, durationMs: number): void {
    this.#metersOf(id, signature)[stage].observe(durationMs / 1000);
  }

  runDone(record: RunRecord): void {
    const { id, signature, timings, report } = record;
    const meters = this.#metersOf(id, signature);
    meters.host.observe(timings.hostMs / 1000);
    meters.lookup.observe(timings.lookupMs / 1000);
    meters.device.observe(timings.deviceMs / 1000);
    if (record.rows > 0) meters.batchRows.observe(record.rows);
    meters.batchRequests.observe(record.requests);
    if (!report) return;
    for (const rows of report.tables) {
      this.#countRows(meters, rows.table, "cache", rows.cacheRows);
      this.#countRows(meters, rows.table, "shard", rows.shardRows);
      this.#countRows(meters, rows.table, "redis", rows.redisRows);
      this.#countRows(meters, rows.table, "stale", rows.staleRows);
      this.#countRows(meters, rows.table, "default", rows.defaultRows);
    }
  }

  shadowDone(model: string, version: number, outcome: ShadowOutcome): void {
    this.#shadows.labels(model, String(version), outcome).inc();
  }

  /** Drops the series of versions that are gone, or they would pile up with every rollout. */
  retainVersions(isLive: (id: ServableId) => boolean): void {
    for (const [key, { id, signature, rows }] of this.#meters) {
      if (isLive(id)) continue;
      this.#meters.delete(key);
      this.#metersById = new WeakMap();
      const [model, version] = [id.name, String(id.version)];
      for (const stage of STAGES) this.#stages.remove(stage, model, version, signature);
      this.#batchRows.remove(model, version, signature);
      this.#batchRequests.remove(model, version, signature);
      for (const [table, sources] of rows) {
        for (const source of sources.keys()) this.#rows.remove(model, version, table, source);
      }
      for (const outcome of SHADOW_OUTCOMES) this.#shadows.remove(model, version, outcome);
    }
  }

  #metersOf(id: ServableId, signature: string): SignatureMeters {
    let bySignature = this.#metersById.get(id);
    if (!bySignature) this.#metersById.set(id, (bySignature = new Map()));
    let meters = bySignature.get(signature);
    if (!meters) bySignature.set(signature, (meters = this.#makeMeters(id, signature)));
    return meters;
  }

  #makeMeters(id: ServableId, signature: string): SignatureMeters {
    const key = `${id.version}|${signature}|${id.name}`;
    let meters = this.#meters.get(key);
    if (!meters) {
      const labels = [id.name, String(id.version), signature] as const;
      const stage = (name: Stage) => this.#stages.labels(name, ...labels);
      meters = {
        id,
        signature,
        queue: stage("queue"),
        host: stage("host"),
        lookup: stage("lookup"),
        device: stage("device"),
        encode: stage("encode"),
        batchRows: this.#batchRows.labels(...labels),
        batchRequests: this.#batchRequests.labels(...labels),
        rows: new Map(),
      };
      this.#meters.set(key, meters);
    }
    return meters;
  }

  #countRows({ id, rows }: SignatureMeters, table: string, origin: RowOrigin, count: number): void {
    if (count === 0) return;
    let ofTable = rows.get(table);
    if (!ofTable) rows.set(table, (ofTable = new Map()));
    let series = ofTable.get(origin);
    if (!series) ofTable.set(origin, (series = this.#rows.labels(id.name, String(id.version), table, origin)));
    series.inc(count);
  }

  /** The page that Prometheus reads. */
  page(): Promise<string> {
    return metricsPage(this.#registry);
  }

  close(): void {
    this.#loopDelay.close();
  }
}

function exponential(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start * factor ** i);
}
