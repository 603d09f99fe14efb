import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { type CloseOptions, type Logger, Service, ServingError, systemClock } from "@shardserve/core";
import {
  type BatchingOptions,
  ModelServer,
  type ModelServerOptions,
  perModelBatching,
  readBatchingParameters,
  readMonitoringPath,
  type Reload,
  RequestLog,
  type Tracing,
  warmingLoader,
} from "@shardserve/model-server";
import {
  fileFingerprint,
  type Loader,
  Manager,
  type ManagerOptions,
  type ServableId,
  planMemory,
} from "@shardserve/servable";
import { bareHost, formatAddress } from "@shardserve/transport";
import { Registry } from "prom-client";
import type { Terminal } from "../../command.js";
import type { FlagValues } from "../../flags.js";
import { VERSION } from "../../version.js";
import { type SERVING_FLAGS, warnOfIgnored } from "../flags/serving-flags.js";
import { checkFree, type Listening } from "../process/free-addresses.js";
import { shownFlags } from "../flags/shown-flags.js";
import { openTracing } from "../flags/tracing-flags.js";
import { openPortGuards } from "./port-guards.js";
import type { VersionFiles } from "../versions/version-files.js";

export type ServingFlags = Readonly<FlagValues<typeof SERVING_FLAGS>>;

/** Waits until what should be served at first is loaded. */
export type WhenLoaded = (manager: Manager, signal: AbortSignal) => Promise<void>;

/** Finds the version directory of what the loader is given. */
type DirectoryOf = (id: ServableId, path: string) => Promise<string>;

export interface ModelFrontOptions {
  /** Served on the REST port, with the server's own; whatever else the process counts belongs there too. */
  readonly metrics?: Registry;
  /** What `GET /v1/config` tells beside the flags; see {@link ModelServerOptions.config}. */
  readonly config?: () => Readonly<Record<string, unknown>>;
  /** Applies the configuration of a HandleReloadConfigRequest; absent = such requests are refused. */
  readonly reload?: Reload;
  /** Whether it is ready only once a model is available; see {@link ModelServerOptions.needsModel}. */
  readonly needsModel?: () => boolean;
  /** Called when a version on probation lost its place to the one before. */
  readonly onRollback?: (id: ServableId, to: number, reason: string) => void;
  /** Version directory of what the loader is given; default the path itself. */
  readonly directoryOf?: DirectoryOf;
  /** State of a version's files, and what loading them needs; default by the directory. */
  readonly files?: Pick<VersionFiles, "fingerprint" | "planMemory">;
  /** Shards hold the rows: they are no part of this process's memory plan. */
  readonly areRowsElsewhere?: boolean;
}

/** Manager and server of one process, started and closed in the right order; what the roles `serve` and `executor` share. */
export class ModelFront extends Service {
  readonly manager: Manager;
  readonly server: ModelServer;
  readonly requestLog: RequestLog | undefined;
  readonly #tracing: Tracing | undefined;
  /** Certificates and tokens, followed while the process runs. */
  readonly #files: readonly Service[];
  readonly #listening: readonly Listening[];
  readonly #whenLoaded: WhenLoaded;

  private constructor(
    manager: Manager,
    server: ModelServer,
    listening: readonly Listening[],
    files: readonly Service[],
    { requestLog, tracing }: { readonly requestLog: RequestLog | undefined; readonly tracing: Tracing | undefined },
    whenLoaded: WhenLoaded,
  ) {
    super();
    this.manager = manager;
    this.server = server;
    this.#listening = listening;
    this.#files = files;
    this.requestLog = requestLog;
    this.#tracing = tracing;
    this.#whenLoaded = whenLoaded;
  }

  /**
   * Reads the files that the flags name; starts nothing.
   *
   * @throws ServingError CONFIG_INVALID, NOT_FOUND when a flag or a file is bad
   */
  static async open(
    loader: Loader,
    whenLoaded: WhenLoaded,
    flags: ServingFlags,
    logger: Logger,
    options: ModelFrontOptions = {},
  ): Promise<ModelFront> {
    const batching = await readBatching(flags);
    checkFlags(flags);
    warnOfIgnored(flags, logger);
    const { directoryOf = async (_id, path) => path } = options;
    const prepared = prepareLoader(loader, flags, { directoryOf, batching, logger });
    const manager = new Manager({
      ...managerSettings(flags),
      ...fileChecks(flags, directoryOf, options),
      loader: prepared.loader,
      ...(options.onRollback && { onRollback: options.onRollback }),
      logger,
    });
    const metricsPath =
      flags.monitoringConfigFile === "" ? undefined : await readMonitoringPath(flags.monitoringConfigFile);
    const guards = await openPortGuards(flags, logger);
    const requestLog = openRequestLog(flags, logger);
    const { traceSamplingRate: samplingRate } = flags;
    const tracing = await openTracing(flags, { samplingRate, serviceName: "shardserve" }, logger);
    const server = new ModelServer({
      ...serverSettings(flags),
      ...guards.settings,
      manager,
      metricsRegistry: options.metrics ?? new Registry(),
      ...(options.reload && { reload: options.reload }),
      ...(options.needsModel && { needsModel: options.needsModel }),
      config: () => ({ flags: shownFlags(flags), ...options.config?.() }),
      ...(metricsPath !== undefined && { metricsPath }),
      ...(requestLog && { requestLog }),
      ...(tracing && { tracing }),
      batching,
      ...(prepared.batchingOf && { batchingOf: prepared.batchingOf }),
      logger,
    });
    const files = guards.follow(server);
    return new ModelFront(manager, server, listeningOf(flags), files, { requestLog, tracing }, whenLoaded);
  }

  /** "gRPC on 0.0.0.0:8500, REST on 0.0.0.0:8501" */
  describe(flags: ServingFlags): string {
    const at = (port: number) => formatAddress({ host: bareHost(flags.host), port });
    const grpc = flags.grpcSocketPath === "" ? at(this.server.grpcPort) : flags.grpcSocketPath;
    const rest = flags.restApiPort < 0 ? "" : `, REST on ${at(this.server.restPort)}`;
    return `gRPC on ${grpc}${rest}`;
  }

  /**
   * Loads first and listens then, as TensorFlow Serving does: who can connect gets answers.
   */
  protected override async onStart(signal: AbortSignal): Promise<void> {
    await checkFree(this.#listening);
    await this.manager.start({ signal });
    await this.#whenLoaded(this.manager, signal);
    await this.requestLog?.start({ signal });
    await this.server.start({ signal });
    for (const file of this.#files) await file.start({ signal });
  }

  protected override async onDrain(drainMs: number): Promise<void> {
    const options: CloseOptions = { drainMs };
    await this.server.close(options);
    await this.manager.close(options);
  }

  protected override async onClose(): Promise<void> {
    for (const file of this.#files) await file.close();
    await this.server.close();
    await this.requestLog?.close();
    await this.#tracing?.close();
    await this.manager.close();
  }
}

/** What comes between the manager and the loader that reads files: warm-up, and the batching that a version's directory asks for. */
function prepareLoader(
  loader: Loader,
  flags: ServingFlags,
  {
    directoryOf,
    batching,
    logger,
  }: {
    readonly directoryOf: DirectoryOf;
    readonly batching: Partial<BatchingOptions>;
    readonly logger: Logger;
  },
): Pick<ModelServerOptions, "batchingOf"> & { readonly loader: Loader } {
  const iterations = Math.max(flags.numRequestIterationsForWarmup, 1);
  const warmed = flags.enableModelWarmup ? warmingLoader(loader, { directoryOf, iterations, logger }) : loader;
  if (!flags.enablePerModelBatchingParameters) return { loader: warmed };
  return perModelBatching(warmed, directoryOf, batching.runsMax ?? availableParallelism());
}

/** How versions are loaded, and when one on probation loses its place. */
function managerSettings(flags: ServingFlags) {
  return {
    ...(flags.probationSeconds > 0 && {
      probation: {
        durationMs: flags.probationSeconds * 1000,
        errorRateMargin: flags.rollbackErrorRate,
        latencyRatioMax: flags.rollbackLatencyRatio,
      },
    }),
    loadRetriesMax: flags.maxNumLoadRetries,
    loadRetryIntervalMs: flags.loadRetryIntervalMicros / 1000,
    ...(flags.numLoadThreads > 0 && { loadsMax: flags.numLoadThreads }),
  };
}

/** What the manager asks about a version's files before it loads them. */
function fileChecks(
  { memoryLimitBytes }: ServingFlags,
  directoryOf: DirectoryOf,
  options: ModelFrontOptions,
): Pick<ManagerOptions, "fingerprint" | "memory"> {
  const { files } = options;
  const fingerprint = async (id: ServableId, path: string) =>
    files ? files.fingerprint(path) : fileFingerprint(await directoryOf(id, path));
  const plan = async (id: ServableId, path: string) =>
    files ? files.planMemory(path, options) : planMemory(await directoryOf(id, path), options);
  return { fingerprint, memory: { limitBytes: memoryLimitBytes || Number.POSITIVE_INFINITY, plan } };
}

/** Where the server listens, and how it answers. */
function serverSettings(flags: ServingFlags) {
  return {
    serverVersion: VERSION,
    host: bareHost(flags.host),
    grpcPort: flags.grpcSocketPath === "" ? flags.port : (`unix:${flags.grpcSocketPath}` as const),
    ...(flags.restApiPort < 0 ? {} : { restPort: flags.restApiPort }),
    isCorsEnabled: flags.restApiEnableCorsSupport,
    isContentEncoded: flags.enableSerializationAsTensorContent,
    isMethodChecked: flags.enableSignatureMethodNameCheck,
    drainDelayMs: flags.drainDelaySeconds * 1000,
    limits: { restTimeoutMs: flags.restApiTimeoutInMs },
  };
}

function listeningOf(flags: ServingFlags): Listening[] {
  const host = bareHost(flags.host);
  const { grpcSocketPath: path, port, restApiPort } = flags;
  return [
    path === "" ? { flag: "--port", address: { host, port } } : { flag: "--grpc-socket-path", address: { path } },
    ...(restApiPort < 0 ? [] : [{ flag: "--rest-api-port", address: { host, port: restApiPort } }]),
  ];
}

/** @throws ServingError CONFIG_INVALID when requests are sampled, but there is no place for them */
function openRequestLog(flags: ServingFlags, logger: Logger): RequestLog | undefined {
  const { requestLogDir, requestLogSamplingRate: samplingRate } = flags;
  if (requestLogDir !== "") {
    return new RequestLog({
      directory: resolve(requestLogDir),
      samplingRate,
      tags: flags.savedModelTags,
      pid: process.pid,
      logger,
    });
  }
  if (samplingRate === 0) return undefined;
  throw new ServingError("CONFIG_INVALID", "--request-log-sampling-rate is set, but --request-log-dir is not");
}

function readBatching(flags: ServingFlags): Promise<Partial<BatchingOptions>> {
  const { enableBatching, batchingParametersFile, maxBatchRows } = flags;
  const targetLatencyMs = flags.targetLatencyMs || Number.POSITIVE_INFINITY;
  if (batchingParametersFile === "")
    return Promise.resolve({ isEnabled: enableBatching, maxBatchRows, targetLatencyMs });
  if (!enableBatching)
    throw new ServingError(
      "CONFIG_INVALID",
      "--batching-parameters-file is set, but batching is off (--enable-batching)",
    );
  return readBatchingParameters(batchingParametersFile, availableParallelism());
}

/** What cannot be done is refused where going on without it would be a danger, or a surprise. */
function checkFlags(flags: ServingFlags): void {
  if (flags.useAltsCredentials)
    throw new ServingError("CONFIG_INVALID", "--use-alts-credentials: ALTS is not supported; use --ssl-config-file");
  if (flags.enablePerModelBatchingParameters && !flags.enableBatching)
    throw new ServingError("CONFIG_INVALID", "--enable-per-model-batching-parameters is set, but batching is off");
}

/** Runs until the signal aborts, then drains; the log says why it ends and how long that took. */
export async function runUntilStopped(
  service: Service,
  { signal, logger }: Pick<Terminal, "signal" | "logger">,
  drainMs: number,
): Promise<void> {
  if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  logger.info({ why: ServingError.from(signal.reason).message, drainSeconds: drainMs / 1000 }, "draining");
  const startMs = systemClock.nowMs();
  await service.close({ drainMs });
  logger.info({ seconds: Math.round((systemClock.nowMs() - startMs) / 100) / 10 }, "drained; the process ends");
}
