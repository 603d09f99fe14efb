import type { ModelState } from "@shardserve/controller";
import { ServingError } from "@shardserve/core";
import { type AspiredRecord, aspiredKey, aspiredRecord } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, onlyArgument, wishFor, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";
import { forgetRollbacks, rollbackEpoch } from "./rollback-epoch.js";

export const rollback = defineCommand({
  name: "rollback",
  summary: "Goes back to the version or the epoch before, or to a named one, and stays there until --undo",
  usage: "MODEL [--to=VERSION] [--epoch=EPOCH] --etcd=HOSTS [--cluster=NAME]",
  examples: [
    "shardserve rollback dlrm --etcd=e1:2379 --cluster=prod",
    "shardserve rollback dlrm --to=41 --etcd=e1:2379",
    "shardserve rollback dlrm --epoch=6 --etcd=e1:2379 --cluster=prod",
    "shardserve rollback dlrm --undo --etcd=e1:2379 --json",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    to: flag.int(
      "version to serve, 0 = the one before the highest that is enabled; with --epoch the version meant, 0 = the highest in force",
      0,
      Number.MAX_SAFE_INTEGER,
      0,
    ),
    epoch: flag.int(
      "newest delta of a version to keep, 0 = as exported: those after it are taken back; -1 = none named",
      -1,
      Number.MAX_SAFE_INTEGER,
      -1,
    ),
    waitSeconds: flag.number("with --epoch, how long to wait until it is in force; 0 = not at all", 0, 3600, 30),
    undo: flag.bool("serve the highest version of the repository, and the newest delta of each, again"),
  },
  async run(positionals, flags, terminal) {
    const model = onlyArgument("rollback", positionals, "model");
    await withRegistry("rollback", flags, terminal, async (registry, outcome) => {
      const { epoch, waitSeconds } = flags;
      if (epoch >= 0) {
        const version = flags.to === 0 ? -1 : flags.to;
        return rollbackEpoch(registry, { model, version, epoch, waitSeconds }, outcome, terminal.signal);
      }
      if (flags.undo) await forgetRollbacks(registry, model, terminal.signal);
      let said = "";
      let wanted: AspiredRecord | undefined;
      const decide: Parameters<typeof change>[2] = (state) => {
        const found = state.models.get(model);
        if (!found) throw new ServingError("NOT_FOUND", `the cluster has no model ${model}; see \`shardserve status\``);
        if (flags.undo) {
          said = `${model}: the highest version is wanted again`;
          wanted =
            found.aspired?.replication === undefined ? undefined : wishFor({ kind: "latest", count: 1 }, found.aspired);
          return wanted ? aspiredRecord.encode(wanted) : "delete";
        }
        const version = flags.to > 0 ? flags.to : versionBefore(model, found);
        const isKnown = found.versions.get(version)?.record !== undefined;
        said = `${model}: version ${version} is wanted${isKnown ? "" : ", once the leader finds it in the repository"}; \`shardserve rollback ${model} --undo\` ends that`;
        wanted = wishFor({ kind: "specific", versions: [version] }, found.aspired);
        return aspiredRecord.encode(wanted);
      };
      await change(registry, aspiredKey(model), decide, terminal.signal);
      outcome.done(said, { model, wanted: wanted ?? null });
    });
  },
});

/** @throws ServingError FAILED_PRECONDITION when the cluster has forgotten it already */
function versionBefore(model: string, { versions }: ModelState): number {
  const known = [...versions].filter(([, { record }]) => record).sort(([a], [b]) => b - a);
  const current = known.find(([, { record }]) => record?.value.state === "enabled")?.[0];
  const before = known.find(([version]) => current !== undefined && version < current)?.[0];
  if (before !== undefined) return before;
  throw new ServingError(
    "FAILED_PRECONDITION",
    `the cluster holds no version of ${model} before ${current ?? "one that is enabled"} any more; name one of the repository with --to=VERSION`,
  );
}
