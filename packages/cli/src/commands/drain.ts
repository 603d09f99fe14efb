import { checkDrain, type ClusterState, replicasOn } from "@shardserve/controller";
import { ServingError } from "@shardserve/core";
import { shardWish, wishKey } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, onlyArgument, waitUntil, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

export const drain = defineCommand({
  name: "drain",
  summary: "Moves all partitions away from shards, which serve on meanwhile; then they can be stopped without any loss",
  usage: "SHARD --etcd=HOSTS [--cluster=NAME]",
  examples: [
    "shardserve drain shard-2 --etcd=e1:2379 --cluster=prod",
    "shardserve drain shard-2 --etcd=e1:2379 --no-wait",
    "shardserve drain shard-2 --etcd=e1:2379 --json",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    wait: flag.bool("wait until the shard holds nothing that is in use", true),
    timeoutSeconds: flag.number("how long to wait", 1, 604_800, 3_600),
  },
  async run(ids, flags, terminal) {
    if (ids.length === 0) throw new ServingError("CONFIG_INVALID", "drain: give the ids of shards; see --help");
    await withRegistry("drain", flags, terminal, async (registry, outcome) => {
      const wish = shardWish.encode({ isDraining: true });
      const decide: Parameters<typeof change>[2] = (state) => {
        const unknown = ids.filter((id) => !state.shards.has(id));
        if (unknown.length > 0) throw noShard(state, unknown);
        checkDrain(state, ids);
        return wish;
      };
      for (const id of ids) await change(registry, wishKey(id), decide, terminal.signal);
      const draining = `${ids.join(", ")}: draining`;
      if (!flags.wait) return outcome.done(draining, { shards: ids, isDrained: false });
      outcome.note(draining);
      const progress = (state: Parameters<typeof replicasOn>[0]) => {
        const counts = ids.map((id) => [id, replicasOn(state, id)] as const).filter(([, count]) => count > 0);
        if (counts.length === 0) return undefined;
        return counts.map(([id, count]) => `${id} holds ${count} partitions that are in use`).join("; ");
      };
      await waitUntil(registry, progress, { timeoutSeconds: flags.timeoutSeconds, outcome, signal: terminal.signal });
      const text = `${ids.join(", ")}: drained; stop them, or take them back with \`shardserve undrain\``;
      outcome.done(text, { shards: ids, isDrained: true });
    });
  },
});

export const undrain = defineCommand({
  name: "undrain",
  summary: "Takes a drained or draining shard back: it gets its share again",
  usage: "SHARD --etcd=HOSTS [--cluster=NAME]",
  examples: ["shardserve undrain shard-2 --etcd=e1:2379 --cluster=prod"],
  flags: { ...OPERATOR_FLAGS },
  async run(positionals, flags, terminal) {
    const id = onlyArgument("undrain", positionals, "shard id");
    await withRegistry("undrain", flags, terminal, async (registry, outcome) => {
      const decide: Parameters<typeof change>[2] = (state, wish) => {
        // A shard that is away may have a wish; one that has neither come nor been drained is a slip.
        if (!wish && !state.shards.has(id)) throw noShard(state, [id]);
        return "delete";
      };
      await change(registry, wishKey(id), decide, terminal.signal);
      outcome.done(`${id}: takes partitions again`, { shard: id });
    });
  },
});

function noShard(state: ClusterState, ids: readonly string[]): ServingError {
  const known = [...state.shards.keys()].sort().join(", ") || "none";
  return new ServingError("NOT_FOUND", `there is no shard ${ids.join(", ")}; there are ${known}`);
}
