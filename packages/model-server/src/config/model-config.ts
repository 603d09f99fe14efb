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
import { readTextFile } from "./text-file.js";

const PLATFORM = "tensorflow";

/** A model as a ModelConfig describes it. */
export interface ConfiguredModel extends ServableToMonitor {
  readonly labels: ReadonlyMap<string, number>;
}

/**
 * Reads a --model_config_file: a ModelServerConfig in protobuf's text format.
 *
 * @throws ServingError NOT_FOUND when the file cannot be read, CONFIG_INVALID "PATH:LINE:COLUMN: ..."
 */
export function readModelConfigFile(path: string): Promise<ModelServerConfig> {
  return readTextFile(ModelServerConfigSchema, path);
}

/**
 * The models of a list. Rules and texts are TensorFlow Serving's (model_servers/server_core.cc), where it has them.
 *
 * @param rootDir  absolute directory that relative base paths start from, and that none may leave; default: base paths
 *   are absolute, and anywhere
 * @throws ServingError INVALID_ARGUMENT, naming the model
 */
export function configuredModels(list: ModelConfigList, rootDir?: string): readonly ConfiguredModel[] {
  const names = new Set<string>();
  return list.config.map((config) => {
    const { name } = config;
    if (name === "") throw invalid(`the model at base_path ${config.basePath} has no name`);
    if (names.has(name)) throw invalid(`Illegal to list model ${name} multiple times in config list`);
    names.add(name);
    checkPlatform(config);
    const basePath = basePathOf(config, rootDir);
    if (config.loggingConfig) {
      throw invalid(`No request-logger-creator provided. (model ${name}: logging_config is not supported)`);
    }
    const labels = Object.entries(config.versionLabels).map(
      ([label, version]) => [label, versionNumber(name, version)] as const,
    );
    return { name, basePath, versionPolicy: versionPolicy(name, config.modelVersionPolicy), labels: new Map(labels) };
  });
}

function basePathOf({ name, basePath }: ModelConfig, rootDir: string | undefined): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(basePath)) {
    throw invalid(
      `model ${name}: base_path ${basePath} is no path of this machine; object stores are not read, mount it`,
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
