import { moveCounts } from "@shardserve/controller";
import { ServingError, systemClock } from "@shardserve/core";
import { levelKey, levelWish } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, onlyArgument, waitUntil, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

export const rebalance = defineCommand({
  name: "rebalance",
  summary:
    "Levels the partitions of a model over the shards, also where the leader would still tolerate the difference",
  usage: "MODEL --etcd=HOSTS [--cluster=NAME]",
  examples: ["shardserve rebalance dlrm --etcd=e1:2379 --cluster=prod"],
  flags: {
    ...OPERATOR_FLAGS,
    wait: flag.bool("wait until it is done", true),
    timeoutSeconds: flag.number("how long to wait", 1, 604_800, 3_600),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("rebalance", positionals, "model");
    await withRegistry("rebalance", flags, terminal, async (registry, outcome) => {
      const wish = levelWish.encode({ wishedAtMs: systemClock.wallMs() });
      const decide: Parameters<typeof change>[2] = (state) => {
        if (state.models.get(model)?.versions.size) return wish;
        throw new ServingError(
          "NOT_FOUND",
          `the cluster has no model ${model}; it has ${[...state.models.keys()].sort().join(", ")}`,
        );
      };
      await change(registry, levelKey(model), decide, terminal.signal);
      if (!flags.wait) return outcome.done(`${model} is to be levelled`, { model, isLevel: false });
      outcome.note(`${model} is to be levelled`);
      await waitUntil(
        registry,
        (state) => {
          const found = state.models.get(model);
          if (found?.levelRevision === undefined) return undefined;
          const counts = [...found.versions.values()].map(({ map }) => moveCounts(map?.value ?? {}));
          const moving = counts.reduce((sum, { inFlightCount, leftCount }) => sum + inFlightCount + leftCount, 0);
          return `${moving} partitions of ${model} are to move`;
        },
        { timeoutSeconds: flags.timeoutSeconds, outcome, signal: terminal.signal },
      );
      outcome.done(`${model} is level`, { model, isLevel: true });
    });
  },
});
