import { ServingError } from "@shardserve/core";
import { type AspiredRecord, aspiredKey, aspiredRecord, type VersionPolicy } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, onlyArgument, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

export const want = defineCommand({
  name: "want",
  summary: "Says which versions of a model are wanted, and how many replicas of its partitions",
  usage: "MODEL [--versions=latest:N|all|V,V...] [--replication=R] --etcd=HOSTS [--cluster=NAME]",
  examples: [
    "shardserve want dlrm --versions=latest:2 --replication=3 --etcd=e1:2379 --cluster=prod",
    "shardserve want dlrm --versions=41,42 --etcd=e1:2379",
    "shardserve want dlrm --reset --etcd=e1:2379 --json",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    versions: flag.text("latest:N, all, or version numbers with commas; empty = as before", "VERSIONS", ""),
    replication: flag.int("replicas of every partition; 0 = as before", 0, 16, 0),
    reset: flag.bool("forget every wish for the model: the leader's defaults apply"),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("want", positionals, "model");
    const policy = flags.versions === "" ? undefined : readPolicy(flags.versions);
    if (!flags.reset && !policy && flags.replication === 0)
      throw new ServingError("CONFIG_INVALID", "want: give --versions, --replication or --reset");
    await withRegistry("want", flags, terminal, async (registry, outcome) => {
      let wanted: AspiredRecord | undefined;
      let isKnown = true;
      const decide: Parameters<typeof change>[2] = (state) => {
        isKnown = (state.models.get(model)?.versions.size ?? 0) > 0;
        if (flags.reset) return "delete";
        const before = state.models.get(model)?.aspired;
        const replication = flags.replication > 0 ? flags.replication : before?.replication;
        wanted = {
          policy: policy ?? before?.policy ?? { kind: "latest", count: 1 },
          ...(replication !== undefined && { replication }),
        };
        return aspiredRecord.encode(wanted);
      };
      await change(registry, aspiredKey(model), decide, terminal.signal);
      const unknown = isKnown ? "" : "; the cluster has no such model yet";
      const text = `${model}: ${flags.reset ? "the defaults apply" : `the wish is written${unknown}`}`;
      outcome.done(text, { model, wanted: wanted ?? null });
    });
  },
});

/** @throws ServingError CONFIG_INVALID */
function readPolicy(text: string): VersionPolicy {
  if (text === "all") return { kind: "all" };
  const [, count] = /^latest:(\d{1,9})$/.exec(text) ?? [];
  if (count !== undefined && Number(count) >= 1) return { kind: "latest", count: Number(count) };
  if (/^\d{1,15}(,\d{1,15})*$/.test(text)) return { kind: "specific", versions: text.split(",").map(Number) };
  throw new ServingError(
    "CONFIG_INVALID",
    `want: --versions=${text} is neither latest:N, all, nor version numbers with commas`,
  );
}
