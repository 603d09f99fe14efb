import { moveCounts } from "@shardserve/controller";
import { ServingError, systemClock } from "@shardserve/core";
import { levelKey, levelWish } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, onlyArgument, waitUntil, withRegistry } from "../roles/operator/operator.js";
import { REGISTRY_FLAGS } from "../roles/flags/registry-flags.js";

export const rebalance = defineCommand({
  name: "rebalance",
  summary:
    "Levels the partitions of a model over the shards, also where the leader would still tolerate the difference",
  usage: "MODEL --etcd=HOSTS [--cluster=NAME]",
  examples: ["shardserve rebalance dlrm --etcd=e1:2379 --cluster=prod"],
  flags: {
    ...REGISTRY_FLAGS,
    wait: flag.bool("wait until it is done", true),
    timeoutSeconds: flag.number("how long to wait", 1, 604_800, 3_600),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("rebalance", positionals, "model");
    await withRegistry("rebalance", flags, terminal, async (registry) => {
      const wish = levelWish.encode({ wishedAtMs: systemClock.wallMs() });
      const decide: Parameters<typeof change>[2] = (state) => {
        if (state.models.get(model)?.versions.size) return wish;
        throw new ServingError(
          "NOT_FOUND",
          `the cluster has no model ${model}; it has ${[...state.models.keys()].sort().join(", ")}`,
        );
      };
      await change(registry, levelKey(model), decide, terminal.signal);
      terminal.print(`${model} is to be levelled`);
      if (!flags.wait) return;
      await waitUntil(
        registry,
        (state) => {
          const found = state.models.get(model);
          if (found?.levelRevision === undefined) return undefined;
          const counts = [...found.versions.values()].map(({ map }) => moveCounts(map?.value ?? {}));
          const moving = counts.reduce((sum, { inFlightCount, leftCount }) => sum + inFlightCount + leftCount, 0);
          return `${moving} partitions of ${model} are to move`;
        },
        { timeoutSeconds: flags.timeoutSeconds, terminal },
      );
      terminal.print(`${model} is level`);
    });
  },
});
