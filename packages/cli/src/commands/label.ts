import { ServingError } from "@shardserve/core";
import { labelsKey, labelsRecord } from "@shardserve/registry";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

export const label = defineCommand({
  name: "label",
  summary: 'Names versions of a model, so that requests can ask for "stable" or "canary"; without names, shows them',
  usage: "MODEL [LABEL=VERSION ...] [--delete=LABEL,...] --etcd=HOSTS [--cluster=NAME]",
  examples: [
    "shardserve label dlrm stable=41 canary=42 --etcd=e1:2379 --cluster=prod",
    "shardserve label dlrm --delete=canary --etcd=e1:2379",
    "shardserve label dlrm --etcd=e1:2379 --json",
  ],
  flags: { ...OPERATOR_FLAGS, delete: flag.list("labels to take away", "LABELS", []) },
  async run([model, ...assignments], flags, terminal) {
    if (model === undefined) throw new ServingError("CONFIG_INVALID", "label: give a model; see --help");
    const given = assignments.map((text) => readAssignment(text));
    await withRegistry("label", flags, terminal, async (registry, outcome) => {
      let labels: ReadonlyMap<string, number> = new Map();
      const decide: Parameters<typeof change>[2] = (state) => {
        const found = state.models.get(model);
        const next = new Map(found?.labels?.labels);
        for (const name of flags.delete) next.delete(name);
        for (const [name, version] of given) {
          if (found?.versions.get(version)?.record?.value.state !== "enabled")
            throw new ServingError(
              "FAILED_PRECONDITION",
              `${model} version ${version} is not enabled; see \`shardserve status\``,
            );
          next.set(name, version);
        }
        labels = next;
        if (given.length + flags.delete.length === 0) return undefined;
        return next.size === 0 ? "delete" : labelsRecord.encode({ labels: next });
      };
      await change(registry, labelsKey(model), decide, terminal.signal);
      const text = [...labels].map(([name, version]) => `${name}=${version}`).join(" ");
      outcome.done(`${model}: ${text === "" ? "no labels" : text}`, { model, labels: Object.fromEntries(labels) });
    });
  },
});

/** @throws ServingError CONFIG_INVALID */
function readAssignment(text: string): readonly [label: string, version: number] {
  const [, name, version] = /^([^=]+)=(\d{1,15})$/.exec(text) ?? [];
  if (name === undefined) throw new ServingError("CONFIG_INVALID", `label: ${text} is not LABEL=VERSION`);
  return [name, Number(version)];
}
