import { availableParallelism } from "node:os";
import { type CloseOptions, type Logger, Service } from "@shardserve/core";
import { loadOrt, type Ort } from "@shardserve/native";
import { ModelServer, type Reload } from "@shardserve/model-server";
import { type Loader, Manager } from "@shardserve/servable";
import { Registry } from "prom-client";
import type { FlagValues } from "../flags.js";
import type { SERVING_FLAGS } from "./serving-flags.js";

export type ServingFlags = Readonly<FlagValues<typeof SERVING_FLAGS>>;

/** The engine with the threads that the operator allows; one per process. */
export function openEngine(flags: ServingFlags): Ort {
  return loadOrt({ intraOpThreads: flags.intraOpThreads === 0 ? availableParallelism() : flags.intraOpThreads });
}

/** Waits until what should be served at first is loaded. */
export type WhenLoaded = (manager: Manager, signal: AbortSignal) => Promise<void>;

export interface ModelFrontOptions {
  /** Served on the REST port, with the server's own; whatever else the process counts belongs there too. */
  readonly metrics?: Registry;
  /** Applies the configuration of a HandleReloadConfigRequest; absent = such requests are refused. */
  readonly reload?: Reload;
}

/** Manager and server of one process, started and closed in the right order; what the roles `serve` and `executor` share. */
export class ModelFront extends Service {
  readonly manager: Manager;
  readonly server: ModelServer;
  readonly #whenLoaded: WhenLoaded;

  constructor(
    loader: Loader,
    whenLoaded: WhenLoaded,
    flags: ServingFlags,
    logger: Logger,
    options: ModelFrontOptions = {},
  ) {
    super();
    this.#whenLoaded = whenLoaded;
    this.manager = new Manager({ loader, logger, loadRetriesMax: flags.maxNumLoadRetries });
    this.server = new ModelServer({
      manager: this.manager,
      metricsRegistry: options.metrics ?? new Registry(),
      ...(options.reload && { reload: options.reload }),
      logger,
      host: flags.host,
      grpcPort: flags.grpcSocketPath === "" ? flags.port : `unix:${flags.grpcSocketPath}`,
      ...(flags.restApiPort < 0 ? {} : { restPort: flags.restApiPort }),
      isCorsEnabled: flags.restApiEnableCorsSupport,
      isContentEncoded: flags.enableSerializationAsTensorContent,
      batching: { isEnabled: flags.enableBatching, maxBatchRows: flags.maxBatchRows },
      drainDelayMs: flags.drainDelaySeconds * 1000,
      limits: { restTimeoutMs: flags.restApiTimeoutInMs },
    });
  }

  /** "gRPC on 0.0.0.0:8500, REST on 0.0.0.0:8501" */
  describe(flags: ServingFlags): string {
    const grpc = flags.grpcSocketPath === "" ? `${flags.host}:${this.server.grpcPort}` : flags.grpcSocketPath;
    const rest = flags.restApiPort < 0 ? "" : `, REST on ${flags.host}:${this.server.restPort}`;
    return `gRPC on ${grpc}${rest}`;
  }

  /**
   * Loads first and listens then, as TensorFlow Serving does: who can connect gets answers.
   */
  protected override async onStart(signal: AbortSignal): Promise<void> {
    await this.manager.start({ signal });
    await this.#whenLoaded(this.manager, signal);
    await this.server.start({ signal });
  }

  protected override async onDrain(drainMs: number): Promise<void> {
    const options: CloseOptions = { drainMs };
    await this.server.close(options);
    await this.manager.close(options);
  }

  protected override async onClose(): Promise<void> {
    await this.server.close();
    await this.manager.close();
  }
}

/** Runs until the signal aborts, then drains. */
export async function runUntilStopped(service: Service, signal: AbortSignal, drainMs: number): Promise<void> {
  if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await service.close({ drainMs });
}
