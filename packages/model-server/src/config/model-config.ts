import { isAbsolute, relative, resolve, sep } from "node:path";
import {
  type FileSystemStoragePathSourceConfig_ServableVersionPolicy,
  type ModelConfig,
  type ModelConfigList,
  type ModelServerConfig,
  ModelServerConfigSchema,
  ModelType,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { ServableToMonitor, VersionPolicy } from "@shardserve/servable";
import type { ModelLogging } from "../request-log/request-log.js";
import { readTextFile } from "./text-file.js";

const PLATFORM = "tensorflow";

/** A model as a ModelConfig describes it. */
export interface ConfiguredModel extends ServableToMonitor {
  readonly labels: ReadonlyMap<string, number>;
  readonly logging: ModelLogging | undefined;
}

/**
 * Reads a --model_config_file: a ModelServerConfig in protobuf's text format.
 *
 * @throws ServingError NOT_FOUND when the file cannot be read, CONFIG_INVALID "PATH:LINE:COLUMN: ..."
 */
export function readModelConfigFile(path: string): Promise<ModelServerConfig> {
  return readTextFile(ModelServerConfigSchema, path);
}

/** What a configuration may say where it is read. */
export interface ConfigRules {
  /** Absolute directory that relative base paths start from, and that none may leave; default: base paths are absolute, and anywhere. */
  readonly rootDir?: string | undefined;
  /** Whether there is a place for logged requests; without one a logging_config is refused. Default false. */
  readonly isLoggingPossible?: boolean;
  /** Base paths that are read over the network; default none. */
  readonly isRemote?: ((basePath: string) => boolean) | undefined;
}

/**
 * The models of a list. Rules and texts are TensorFlow Serving's (model_servers/server_core.cc), where it has them.
 *
 * @throws ServingError INVALID_ARGUMENT, naming the model
 */
export function configuredModels(list: ModelConfigList, rules: ConfigRules = {}): readonly ConfiguredModel[] {
  const names = new Set<string>();
  return list.config.map((config) => {
    const { name } = config;
    if (name === "") throw invalid(`the model at base_path ${config.basePath} has no name`);
    if (names.has(name)) throw invalid(`Illegal to list model ${name} multiple times in config list`);
    names.add(name);
    checkPlatform(config);
    const basePath = basePathOf(config, rules);
    const logging = loggingOf(config);
    if (logging && !rules.isLoggingPossible) {
      throw invalid(`No request-logger-creator provided. (model ${name} has a logging_config: give --request-log-dir)`);
    }
    const labels = Object.entries(config.versionLabels).map(
      ([label, version]) => [label, versionNumber(name, version)] as const,
    );
    return {
      name,
      basePath,
      versionPolicy: versionPolicy(name, config.modelVersionPolicy),
      labels: new Map(labels),
      logging,
    };
  });
}

function basePathOf({ name, basePath }: ModelConfig, { rootDir, isRemote }: ConfigRules): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(basePath)) {
    if (rootDir !== undefined)
      throw invalid(`model ${name}: base_path ${basePath} does not lie in ${rootDir}, the root of all models`);
    if (isRemote?.(basePath)) return basePath;
    throw invalid(
      `model ${name}: base_path ${basePath} is neither a path of this machine nor s3://BUCKET/PATH or gs://BUCKET/PATH`,
    );
  }
  if (rootDir === undefined) {
    if (isAbsolute(basePath)) return basePath;
    throw invalid(`Expected model ${name} to have an absolute path or URI; got base_path()=${basePath}`);
  }
  const path = resolve(rootDir, basePath);
  const fromRoot = relative(rootDir, path);
  if (fromRoot === "" || fromRoot === ".." || fromRoot.startsWith(`..${sep}`) || isAbsolute(fromRoot)) {
    throw invalid(`model ${name}: base_path ${basePath} does not lie in ${rootDir}, the root of all models`);
  }
  return path;
}

/** File names stay inside the log directory: a configuration may come over the network. */
function loggingOf({ name, loggingConfig }: ModelConfig): ModelLogging | undefined {
  if (!loggingConfig) return undefined;
  const { logCollectorConfig: collector, samplingConfig: sampling, customLoggingConfig: custom } = loggingConfig;
  if (custom) throw invalid(`model ${name}: custom_logging_config is not supported`);
  if (sampling && (sampling.attributes !== 0 || sampling.perTaskSamplingConfigs.length > 0)) {
    throw invalid(`model ${name}: of sampling_config only sampling_rate is supported`);
  }
  const type = collector?.type ?? "";
  if (type !== "" && type !== "file") throw invalid(`model ${name}: log_collector_config.type "${type}" is not "file"`);
  const samplingRate = sampling?.samplingRate ?? 0;
  if (!(samplingRate >= 0 && samplingRate <= 1))
    throw invalid(`model ${name}: sampling_rate ${samplingRate} is not 0 to 1`);
  const filePrefix = collector?.filenamePrefix || encodeURIComponent(name);
  const isInside = !isAbsolute(filePrefix) && !filePrefix.split(/[\\/]/).includes("..") && !filePrefix.includes("\0");
  if (!isInside) throw invalid(`model ${name}: filename_prefix ${filePrefix} leads out of the log directory`);
  return { samplingRate, filePrefix };
}

function checkPlatform({ name, modelPlatform, modelType }: ModelConfig): void {
  if (modelType !== ModelType.MODEL_TYPE_UNSPECIFIED && modelPlatform !== "") {
    throw invalid(
      "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
    );
  }
  const platform = modelType === ModelType.TENSORFLOW ? PLATFORM : modelPlatform;
  if (platform === "") {
    throw invalid(
      `Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform. (model ${name}; set model_platform: "${PLATFORM}")`,
    );
  }
  if (platform !== PLATFORM)
    throw invalid(`model ${name}: the platform ${platform} is unknown, only ${PLATFORM} is served`);
}

function versionPolicy(
  name: string,
  policy: FileSystemStoragePathSourceConfig_ServableVersionPolicy | undefined,
): VersionPolicy {
  const choice = policy?.policyChoice;
  switch (choice?.case) {
    case "all":
      return { kind: "all" };
    case "specific":
      return { kind: "specific", versions: choice.value.versions.map((version) => versionNumber(name, version)) };
    default:
      return { kind: "latest", count: Math.max(choice?.value?.numVersions ?? 1, 1) };
  }
}

function versionNumber(model: string, version: bigint): number {
  if (version < 0n || version > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw invalid(`model ${model}: version ${version} lies outside 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return Number(version);
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
