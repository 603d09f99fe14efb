import { resolve } from "node:path";
import {
  create,
  type ModelServerConfig,
  ModelServerConfigSchema,
  toJson,
  type TrafficConfig,
  TrafficConfigSchema,
} from "@shardserve/api";
import { isServingError, type Logger, type Service, ServingError } from "@shardserve/core";
import {
  ConfigFilePoll,
  ModelCatalog,
  readModelConfigFile,
  readTrafficFile,
  trafficPolicies,
} from "@shardserve/model-server";
import { isUri } from "@shardserve/object-store";
import type { Manager } from "@shardserve/servable";
import { defineCommand } from "../command.js";
import { type FlagValues, flag, refusePositionals } from "../flags.js";
import { openEngines } from "../roles/serving/engines.js";
import { localLoader } from "../roles/serving/local-loader.js";
import { ModelFront, runUntilStopped } from "../roles/serving/model-front.js";
import { SERVING_FLAGS } from "../roles/flags/serving-flags.js";
import { OBJECT_STORE_FLAGS, VersionFiles } from "../roles/versions/version-files.js";
import { VERSION } from "../version.js";

const FLAGS = {
  modelName: flag.text("name under which clients ask for the model", "NAME", "default"),
  modelBasePath: flag.text("directory, s3:// or gs:// place whose numeric children are versions", "DIR", ""),
  modelConfigFile: flag.text(
    "several models: a ModelServerConfig in protobuf's text format, instead of name and base path",
    "FILE",
    "",
  ),
  modelConfigFilePollWaitSeconds: flag.number("pause between looks at both files; 0 = read once", 0, 86_400, 0),
  trafficConfigFile: flag.text("traffic splits and shadows: a TrafficConfig in protobuf's text format", "FILE", ""),
  modelConfigListRootDir: flag.text("where relative base paths start, and what no base path may leave", "DIR", ""),
  fileSystemPollWaitSeconds: flag.number("pause between looks for new versions; 0 = look once", 0, 86_400, 1),
  version: flag.bool("print the program's version and end"),
  allowVersionLabelsForUnavailableModels: flag.bool("let a new label name a version that is not loaded"),
  ...OBJECT_STORE_FLAGS,
  ...SERVING_FLAGS,
};

type ServeFlags = Readonly<FlagValues<typeof FLAGS>>;

export const serve = defineCommand({
  name: "serve",
  summary: "Serves SavedModels on this machine, as tensorflow_model_server does",
  usage: "--model_name=NAME --model_base_path=BASE | --model_config_file=FILE",
  examples: [
    "shardserve serve --model_name=half_plus_two --model_base_path=/models/half_plus_two --port=8500 --rest_api_port=8501",
    "shardserve serve --model_name=ranker --model_base_path=s3://models/ranker --model-cache-dir=/var/cache/ranker --model-cache-bytes=20GiB",
    "shardserve serve --model_config_file=/models/models.config --model_config_file_poll_wait_seconds=60",
    "curl -d '{\"instances\": [1.0, 2.0, 5.0]}' localhost:8501/v1/models/half_plus_two:predict",
  ],
  flags: FLAGS,
  lastFlagCounts: true, // as in tensorflow_model_server, whose image puts the user's flags behind its own
  async run(positionals, flags, terminal) {
    refusePositionals("serve", positionals);
    if (flags.version) return terminal.print(`shardserve ${VERSION}`);
    const { logger, signal, environment } = terminal;
    if (flags.modelConfigFile !== "" && flags.modelBasePath !== "")
      logger.warn({}, "--model-name and --model-base-path have no effect beside --model-config-file");
    const config = await initialConfig(flags);
    const engines = await openEngines(flags, environment, logger);
    const files = new VersionFiles(flags, environment, logger);
    const loader = files.loader(localLoader({ engines, tags: flags.savedModelTags, logger }));
    const whenLoaded = async (manager: Manager, stop: AbortSignal) => {
      await catalog.start({ signal: stop });
      const mayAppear = flags.fileSystemPollWaitSeconds > 0;
      await applyFirst(catalog, manager, config, { mayAppear, logger, signal: stop });
    };
    const front: ModelFront = await ModelFront.open(loader, whenLoaded, flags, logger, {
      reload: (next, options) => catalog.apply(next, options),
      needsModel: () => catalog.models.length > 0,
      config: () => ({
        modelServerConfig: toJson(ModelServerConfigSchema, catalog.config),
        absentModels: Object.fromEntries(catalog.problems),
      }),
      directoryOf: (_id, path) => files.directoryOf(path),
      files,
    });
    engines.pace.follow(() => front.server.requestCount);
    const catalog: ModelCatalog = new ModelCatalog({
      manager: front.manager,
      pollIntervalMs: flags.fileSystemPollWaitSeconds * 1000,
      remote: files.remote,
      isUnavailableLabelAllowed: flags.allowVersionLabelsForUnavailableModels,
      ...(flags.modelConfigListRootDir !== "" && { rootDir: resolve(flags.modelConfigListRootDir) }),
      ...(front.requestLog && { requestLog: front.requestLog }),
      logger,
    });
    const polls = [
      ...followModels(flags, config, catalog, logger),
      ...(await followTrafficFile(flags, front.manager, logger)),
    ];
    try {
      await front.start({ signal });
      for (const poll of polls) await poll.start();
      const names = catalog.models.map(({ name }) => name);
      terminal.print(`serving ${names.length > 0 ? names.join(", ") : "no model yet"}: ${front.describe(flags)}`);
      await runUntilStopped(front, terminal, flags.drainSeconds * 1000);
    } finally {
      for (const poll of polls) await poll.close();
      await catalog.close();
      await front.close();
      await files.close();
    }
  },
});

/** @throws ServingError CONFIG_INVALID when the flags name no model, or the file is bad */
async function initialConfig(flags: ServeFlags): Promise<ModelServerConfig> {
  if (flags.modelConfigFile !== "") return readModelConfigFile(flags.modelConfigFile);
  if (flags.modelBasePath === "")
    throw new ServingError("CONFIG_INVALID", "serve: give --model_base_path, or --model_config_file");
  const model = {
    name: flags.modelName,
    basePath: isUri(flags.modelBasePath) ? flags.modelBasePath : resolve(flags.modelBasePath),
    modelPlatform: "tensorflow",
  };
  return create(ModelServerConfigSchema, { config: { case: "modelConfigList", value: { config: [model] } } });
}

/** Applies the file of models anew whenever it has changed, where the flags name one and a pause between two looks. */
function followModels(flags: ServeFlags, applied: ModelServerConfig, catalog: ModelCatalog, logger: Logger): Service[] {
  const { modelConfigFile: path, modelConfigFilePollWaitSeconds: pauseSeconds } = flags;
  if (path === "" || pauseSeconds === 0) return [];
  return [
    new ConfigFilePoll({
      what: "model configuration",
      schema: ModelServerConfigSchema,
      path,
      intervalMs: pauseSeconds * 1000,
      applied,
      apply: (next, options) => catalog.apply(next, options),
      logger,
    }),
  ];
}

/** Applies the traffic policies of the file that the flags name, and follows it at the same pace. */
async function followTrafficFile(flags: ServeFlags, manager: Manager, logger: Logger): Promise<Service[]> {
  const { trafficConfigFile: path, modelConfigFilePollWaitSeconds: pauseSeconds } = flags;
  if (path === "") return [];
  const apply = async (next: TrafficConfig) => manager.replaceTraffic(trafficPolicies(next));
  const applied = await readTrafficFile(path);
  await apply(applied);
  if (pauseSeconds === 0) return [];
  const file = { what: "traffic configuration", schema: TrafficConfigSchema, path };
  return [new ConfigFilePoll({ ...file, intervalMs: pauseSeconds * 1000, applied, apply, logger })];
}

/**
 * The first configuration: models that cannot be loaded are logged as long as another can be, or may appear.
 *
 * @throws ServingError LOAD_FAILED when no model is available and none can become so
 */
async function applyFirst(
  catalog: ModelCatalog,
  manager: Manager,
  config: ModelServerConfig,
  { mayAppear, logger, signal }: { readonly mayAppear: boolean; readonly logger: Logger; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await catalog.apply(config, { signal });
  } catch (error) {
    if (!isServingError(error, "LOAD_FAILED")) throw error;
    const names = catalog.models.map(({ name }) => name);
    if (names.some((name) => manager.isAvailable(name))) {
      logger.error({ error: error.message }, "not every model could be loaded; serving the others");
    } else if (mayAppear && names.some((name) => catalog.problemOf(name) !== undefined)) {
      logger.error({ error: error.message }, "no model is there yet; not ready until one is");
    } else {
      throw error;
    }
  }
}
