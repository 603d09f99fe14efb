import type { Logger } from "@shardserve/core";
import { type FlagTable, flag, flagName } from "../../flags.js";
import { ENGINE_FLAGS } from "../serving/engines.js";
import { GUARD_FLAGS } from "./guard-flags.js";
import { TRACING_FLAGS } from "./tracing-flags.js";

/** Flags of tensorflow_model_server that are taken and change nothing, with the reason in their help. */
const IGNORED_FLAGS = {
  restApiNumThreads: flag.int("no effect: one event loop serves all connections", 0, 1_000_000, 0),
  grpcMaxThreads: flag.int("no effect: one event loop serves all connections", 0, 1_000_000, 0),
  grpcChannelArguments: flag.text("no effect: limits and keepalive are set by the server", "LIST", ""),
  enableGrpcHealthcheckService: flag.bool("no effect: the health service is always there", true),
  numUnloadThreads: flag.int("no effect: versions are released as their last request ends", 0, 1_000_000, 0),
  flushFilesystemCaches: flag.bool("no effect: weights are mapped, their pages are the cache", true),
  tensorflowSessionConfigFile: flag.text("no effect: see --engine, --device and the --gpu flags", "FILE", ""),
  platformConfigFile: flag.text("no effect: use the flags for batching, warm-up and tags", "FILE", ""),
  removeUnusedFieldsFromBundleMetagraph: flag.bool("no effect: the graph is compiled and not kept", true),
  preferTfliteModel: flag.bool("no effect: SavedModels are served, TensorFlow Lite models are not"),
  numTflitePools: flag.int("no effect: TensorFlow Lite models are not served", 0, 1_000_000, 0),
  numTfliteInterpretersPerPool: flag.int("no effect: TensorFlow Lite models are not served", 0, 1_000_000, 0),
  xlaCpuCompilationEnabled: flag.bool("no effect: the engine compiles the graph"),
  xlaGpuCompilationEnabled: flag.bool("no effect: the engine compiles the graph"),
  enableProfiler: flag.bool("no effect: there is no TensorFlow profiler; see the metrics", true),
  threadPoolFactoryConfigFile: flag.text("no effect: see --intra-op-threads", "FILE", ""),
  mixedPrecision: flag.text("no effect: models run in the precision that they were saved with", "TYPE", ""),
  skipInitializeTpu: flag.bool("no effect: no engine here uses a TPU"),
};

/** Flags of everything that answers predict requests; names and meaning are TensorFlow Serving's where it has them. */
export const SERVING_FLAGS = {
  port: flag.int("gRPC port; 0 = any free one", 0, 65_535, 8500),
  grpcSocketPath: flag.text("Unix socket for gRPC instead of a port", "PATH", ""),
  restApiPort: flag.int("REST port, also metrics and health; -1 = none, 0 = any free one", -1, 65_535, 8501),
  restApiTimeoutInMs: flag.int("time for a REST request to finish; 0 = no limit", 0, 86_400_000, 30_000),
  restApiEnableCorsSupport: flag.bool("CORS headers on REST replies"),
  host: flag.filled("address to listen on", "ADDRESS", "0.0.0.0"),
  ...GUARD_FLAGS,
  restApiSslConfigFile: flag.text("TLS of REST, metrics and health: an SSLConfig", "FILE", ""),
  useAltsCredentials: flag.bool("refused: ALTS is not supported"),
  enableBatching: flag.bool("join requests of one signature across callers", true),
  maxBatchRows: flag.int("rows of a joined run, without a parameters file", 1, 1_000_000, 512),
  targetLatencyMs: flag.int(
    "how long a request may wait for its run, without a parameters file; 0 = no limit",
    0,
    86_400_000,
    1000,
  ),
  batchingParametersFile: flag.text("BatchingParameters in protobuf's text format; its values rule", "FILE", ""),
  enablePerModelBatchingParameters: flag.bool("parameters from batching_params.pbtxt of each version directory"),
  enableSerializationAsTensorContent: flag.bool("reply with tensor_content instead of typed fields"),
  enableSignatureMethodNameCheck: flag.bool("refuse signatures whose method_name is another call's"),
  requestLogDir: flag.text("directory for logged requests; also lets models have a logging_config", "DIR", ""),
  requestLogSamplingRate: flag.number("part of the requests of every model that is logged", 0, 1, 0),
  ...TRACING_FLAGS,
  traceSamplingRate: flag.number("part of the requests that begin a trace; a caller's own is followed", 0, 1, 0.01),
  monitoringConfigFile: flag.text("path of the metrics page: a MonitoringConfig", "FILE", ""),
  savedModelTags: flag.list("tags of the meta graph to serve", "TAGS", ["serve"]),
  enableModelWarmup: flag.bool("run assets.extra/tf_serving_warmup_requests before a version is available", true),
  numRequestIterationsForWarmup: flag.int("how often each of those requests is run; 0 = once", 0, 1_000_000, 0),
  numLoadThreads: flag.int("versions loaded at once; 0 = 2", 0, 1024, 0),
  memoryLimitBytes: flag.bytes("what all loaded versions may need together, by their files; 0 = no limit", 0),
  maxNumLoadRetries: flag.int("tries after a failed load", 0, 1000, 5),
  loadRetryIntervalMicros: flag.int(
    "longest pause between tries; pauses begin at a second",
    0,
    86_400_000_000,
    60_000_000,
  ),
  probationSeconds: flag.number(
    "how long a new version is watched beside the one before, and rolled back when it does worse; 0 = not",
    0,
    86_400,
    0,
  ),
  rollbackErrorRate: flag.number("errors per request that it may have above those of the one before", 0, 1, 0.01),
  rollbackLatencyRatio: flag.number("its 99th percentile of time in the model, against the one before", 1, 1000, 2),
  ...ENGINE_FLAGS,
  drainSeconds: flag.int("how long requests in flight may still take after SIGTERM", 0, 86_400, 30),
  drainDelaySeconds: flag.number("how much of that goes by before new connections are refused", 0, 86_400, 0),
  ...IGNORED_FLAGS,
};

/** Says once for each flag that was given and changes nothing, why. */
export function warnOfIgnored(flags: Readonly<Record<string, unknown>>, logger: Logger): void {
  for (const [key, spec] of Object.entries(IGNORED_FLAGS as FlagTable<Record<string, unknown>>)) {
    if (flags[key] !== spec.default) logger.warn({ flag: key }, `--${flagName(key)} has ${spec.help}`);
  }
}
