import {
  type Clock,
  type Logger,
  type Random,
  Service,
  ServingError,
  silentLogger,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import type { Manager, Model, ServableId } from "@shardserve/servable";
import { parseAddress } from "@shardserve/transport";
import { Registry } from "prom-client";
import { Batcher } from "./batching/batcher.js";
import { type BatchingOptions, DEFAULT_BATCHING } from "./batching/options.js";
import { GrpcFront } from "./grpc/grpc-front.js";
import type { Reload } from "./grpc/tensorflow-methods.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
import { ServerMetrics } from "./metrics.js";
import { Predictor } from "./predict/predictor.js";
import { ShadowMirror } from "./predict/shadow.js";
import { RestFront } from "./rest/rest-front.js";
import { RequestScopes } from "./scope.js";
import type { RequestLog } from "./request-log/request-log.js";
import type { Access } from "./security/access.js";
import type { TlsOptions } from "./tls.js";
import type { Tracing } from "./tracing/tracing.js";

/** Where TensorFlow Serving has it. */
const DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics";
/** Time for requests that were aborted to send their last word. */
const ABORT_GRACE_MS = 1000;

/** What both fronts, gRPC and REST, serve, and where they listen. */
export interface ModelServerOptions {
  /** Started and closed by its owner: started before the server, closed after it. */
  readonly manager: Manager;
  /** Port of gRPC, 0 = any free one; or "unix:PATH". Absent = no gRPC. */
  readonly grpcPort?: number | `unix:${string}`;
  /** Port of REST, 0 = any free one. Absent = no REST. */
  readonly restPort?: number;
  /** Address to listen on, default "0.0.0.0". */
  readonly host?: string;
  /** Receives the server's metrics; default a registry of its own. */
  readonly metricsRegistry?: Registry;
  /** Path of the Prometheus page on the REST port, default "/monitoring/prometheus/metrics"; null = none. */
  readonly metricsPath?: string | null;
  /** What `GET /v1/config` tells of how the process was started, beside its models: plain JSON without secrets. Default nothing. */
  readonly config?: () => Readonly<Record<string, unknown>>;
  /** TLS of gRPC; absent = not encrypted. */
  readonly grpcTls?: TlsOptions;
  /** TLS of REST; absent = not encrypted. */
  readonly restTls?: TlsOptions;
  /** The program's version, as the Open Inference Protocol's server metadata name it. */
  readonly serverVersion?: string;
  /** Traces requests; closed by its owner, after the server. Absent = none are. */
  readonly tracing?: Tracing;
  /** Logs a sample of the requests; started by its owner before the server, closed after it. */
  readonly requestLog?: RequestLog;
  /** Who may do what, by bearer tokens; absent = everybody may do everything. */
  readonly access?: Access;
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** Draws the requests that are copied to a shadow. */
  readonly random?: Random;
  readonly batching?: Partial<BatchingOptions>;
  /** The options of one model, where they are not `batching`. */
  readonly batchingOf?: (model: Model) => BatchingOptions | undefined;
  readonly limits?: Partial<ServerLimits>;
  /** Answers carry tensor_content instead of typed fields (--enable_serialization_as_tensor_content). Default false. */
  readonly isContentEncoded?: boolean;
  /** Refuse signatures whose method_name is another call's (--enable_signature_method_name_check). Default false. */
  readonly isMethodChecked?: boolean;
  /** --rest_api_enable_cors_support. Default false. */
  readonly isCorsEnabled?: boolean;
  /**
   * How long a drain goes on taking requests after it reported NOT_SERVING, so that balancers notice first; part of
   * drainMs. Default 0.
   */
  readonly drainDelayMs?: number;
  /**
   * Whether it reports that it is not ready until the first model is available; asked again whenever a model changed, until
   * it has been ready once. Default never: it is ready once it listens.
   */
  readonly needsModel?: () => boolean;
  /** Applies the configuration of a HandleReloadConfigRequest; absent = such requests are refused. */
  readonly reload?: Reload;
}

/**
 * The TensorFlow Serving-compatible server: Predict, Classify, Regress, metadata and status over gRPC and REST, KServe's
 * Open Inference Protocol v2 over both, health, metrics, batching.
 *
 * A drain reports NOT_SERVING, stops listening and tells open connections to go elsewhere, but answers whatever still
 * arrives on them until `drainMs`; then it refuses, and aborts what is left.
 */
export class ModelServer extends Service {
  readonly #options: ModelServerOptions;
  readonly #clock: Clock;
  readonly #metrics: ServerMetrics;
  readonly #scopes: RequestScopes;
  readonly #grpc: GrpcFront | undefined;
  readonly #rest: RestFront | undefined;
  #stopWatching: (() => void) | null = null;
  #isDropQueued = false;
  #isOpen = true;
  /** Whether probes and the health service are told that it is ready. */
  #isReporting = true;
  #grpcPort = 0;
  #restPort = 0;

  constructor(options: ModelServerOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const clock = this.#clock;
    const logger = options.logger ?? silentLogger;
    const { manager, host = "0.0.0.0" } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const scopes = new RequestScopes(clock, limits.messageBytesInFlightMax);
    const metrics = new ServerMetrics(
      options.metricsRegistry ?? new Registry(),
      () => scopes.count,
      () => brokenVersions(manager),
    );
    this.#metrics = metrics;
    this.#scopes = scopes;
    const batcher = new Batcher({
      batching: { ...DEFAULT_BATCHING, ...options.batching },
      ...(options.batchingOf && { batchingOf: options.batchingOf }),
      clock,
      logger,
      onRun: (record) => metrics.runDone(record),
      whenArrived: (start) => void setImmediate(start),
    });
    const { isContentEncoded = false, isMethodChecked = false } = options;
    const shadow = new ShadowMirror({
      manager,
      batcher,
      clock,
      random: options.random ?? systemRandom(),
      onOutcome: (model, version, outcome) => metrics.shadowDone(model, version, outcome),
    });
    const { requestLog } = options;
    if (requestLog) requestLog.onLogged = (...logged) => metrics.requestLogged(...logged);
    const predictor = new Predictor({
      manager,
      batcher,
      metrics,
      clock,
      shadow,
      isContentEncoded,
      isMethodChecked,
      requestLog,
    });
    const common = {
      manager,
      predictor,
      metrics,
      scopes,
      clock,
      logger,
      limits,
      isOpen: () => this.#isOpen,
      isReady: () => this.#isReporting && this.state === "ready",
      serverVersion: options.serverVersion ?? "",
      access: options.access,
      tracing: options.tracing,
    };
    if (options.grpcPort !== undefined) {
      const { grpcPort } = options;
      const address = typeof grpcPort === "string" ? parseAddress(grpcPort) : { host, port: grpcPort };
      this.#grpc = new GrpcFront({ ...common, address, reload: options.reload, tls: options.grpcTls });
    }
    if (options.restPort !== undefined) {
      this.#rest = new RestFront({
        ...common,
        host,
        port: options.restPort,
        metricsPath: options.metricsPath === null ? undefined : (options.metricsPath ?? DEFAULT_METRICS_PATH),
        config: options.config ?? (() => ({})),
        tls: options.restTls,
        isCorsEnabled: options.isCorsEnabled ?? false,
      });
    }
  }

  /** The bound gRPC port; 0 before start and on a Unix socket. */
  get grpcPort(): number {
    return this.#grpcPort;
  }

  /** The bound REST port; 0 before start. */
  get restPort(): number {
    return this.#restPort;
  }

  /**
   * Certificates for gRPC connections from now on; requests under way are not touched.
   *
   * @throws ServingError CONFIG_INVALID when whether clients must show certificates changed: that takes a restart
   */
  replaceGrpcTls(tls: TlsOptions): void {
    this.#grpc?.replaceTls(tls);
  }

  /** The same for REST. */
  replaceRestTls(tls: TlsOptions): void {
    this.#rest?.replaceTls(tls);
  }

  /** Requests that came, since the start. */
  get requestCount(): number {
    return this.#scopes.begun;
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#scopes.count;
  }

  protected override async onStart(): Promise<void> {
    const { manager, needsModel = () => false } = this.#options;
    let isWaiting = true;
    this.#report(false);
    const look = () => {
      this.#dropMetricsLater();
      if (!isWaiting || (needsModel() && !manager.names().some((name) => manager.isAvailable(name)))) return;
      isWaiting = false;
      if (this.state === "starting" || this.state === "ready") this.#report(true);
    };
    this.#stopWatching = manager.onChange(look);
    look();
    if (this.#grpc) this.#grpcPort = await this.#grpc.listen();
    if (this.#rest) this.#restPort = await this.#rest.listen();
  }

  protected override async onDrain(drainMs: number): Promise<void> {
    const endMs = this.#clock.nowMs() + drainMs;
    const leftMs = () => Math.max(endMs - this.#clock.nowMs(), 0);
    this.#report(false);
    await this.#pause(Math.min(this.#options.drainDelayMs ?? 0, drainMs));

    const grpcClosed = this.#grpc?.close(leftMs() + ABORT_GRACE_MS);
    const restClosed = this.#rest?.stopAccepting();
    await this.#scopes.whenIdle(leftMs());
    this.#isOpen = false;
    this.#scopes.abortAll(
      new ServingError("DRAINING", "the server is shutting down and stopped waiting for this request"),
    );
    await this.#scopes.whenIdle(ABORT_GRACE_MS);
    this.#rest?.closeIdleConnections();
    const cancel = this.#clock.after(ABORT_GRACE_MS, () => this.#rest?.closeAllConnections());
    await grpcClosed;
    await restClosed;
    cancel();
  }

  protected override async onClose(): Promise<void> {
    await this.#grpc?.close(0);
    const restClosed = this.#rest?.stopAccepting();
    this.#rest?.closeAllConnections();
    await restClosed;
    this.#stopWatching?.();
    this.#metrics.close();
  }

  /** Once for all changes of one turn: thousands of models may be loaded and dropped together. */
  #dropMetricsLater(): void {
    if (this.#isDropQueued) return;
    this.#isDropQueued = true;
    setImmediate(() => {
      this.#isDropQueued = false;
      const { manager } = this.#options;
      this.#metrics.retainVersions(({ name, version }) =>
        (manager.statuses(name) ?? []).some((status) => status.version === version && status.state !== "END"),
      );
    });
  }

  #report(isReady: boolean): void {
    this.#isReporting = isReady;
    this.#grpc?.health.report(isReady);
  }

  #pause(delayMs: number): Promise<void> {
    return delayMs === 0 ? Promise.resolve() : new Promise((resolve) => this.#clock.after(delayMs, resolve));
  }
}

/** Versions that are served of which some signatures are not, and how many. */
function brokenVersions(manager: Manager): { readonly id: ServableId; readonly count: number }[] {
  return manager.names().flatMap((name) =>
    (manager.statuses(name) ?? []).flatMap(({ version }) => {
      const count = manager.brokenSignatures(name, version).size;
      return count === 0 ? [] : [{ id: { name, version }, count }];
    }),
  );
}
