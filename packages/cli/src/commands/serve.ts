import { resolve } from "node:path";
import { ServingError } from "@shardserve/core";
import { FileSystemSource, type Manager } from "@shardserve/servable";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { localLoader } from "../roles/local-loader.js";
import { ModelFront, openEngine, runUntilStopped } from "../roles/model-front.js";
import { SERVING_FLAGS } from "../roles/serving-flags.js";

export const serve = defineCommand({
  name: "serve",
  summary: "Serves the versions of one SavedModel on this machine, as tensorflow_model_server does",
  usage: "--model_name=NAME --model_base_path=BASE",
  examples: [
    "shardserve serve --model_name=half_plus_two --model_base_path=/models/half_plus_two --port=8500 --rest_api_port=8501",
    "curl -d '{\"instances\": [1.0, 2.0, 5.0]}' localhost:8501/v1/models/half_plus_two:predict",
  ],
  flags: {
    modelName: flag.text("name under which clients ask for the model", "NAME", "default"),
    modelBasePath: flag.text("directory whose numeric children are versions", "DIR"),
    fileSystemPollWaitSeconds: flag.number("pause between looks for new versions; 0 = look once", 0, 86_400, 1),
    ...SERVING_FLAGS,
  },
  async run(positionals, flags, terminal) {
    if (positionals.length > 0)
      throw new ServingError("CONFIG_INVALID", `serve: what is "${positionals[0]}"? see --help`);
    const { logger, signal } = terminal;
    const loader = localLoader({ ort: openEngine(flags), tags: flags.savedModelTags, logger });
    const source = new FileSystemSource({
      servables: [{ name: flags.modelName, basePath: resolve(flags.modelBasePath) }],
      onAspired: (name, versions) => front.manager.setAspired(name, versions),
      pollIntervalMs: flags.fileSystemPollWaitSeconds * 1000,
      logger,
    });
    const whenLoaded = async (manager: Manager) => {
      await source.start();
      await manager.whenAvailable([flags.modelName], { signal });
    };
    const front: ModelFront = new ModelFront(loader, whenLoaded, flags, logger);
    try {
      await front.start({ signal });
      terminal.print(`serving ${flags.modelName}: ${front.describe(flags)}`);
      await runUntilStopped(front, signal, flags.drainSeconds * 1000);
    } finally {
      await source.close();
      await front.close();
    }
  },
});
