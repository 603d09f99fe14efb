import { ServingError } from "@shardserve/core";
import { trafficKey, trafficRecord } from "@shardserve/registry";
import { checkTraffic, type ShadowTraffic, type TrafficPolicy } from "@shardserve/servable";
import { defineCommand } from "../command.js";
import { flag } from "../flags.js";
import { change, withRegistry } from "../roles/operator/operator.js";
import { OPERATOR_FLAGS } from "../roles/operator/outcome.js";

export const traffic = defineCommand({
  name: "traffic",
  summary: "Shares the requests that name no version out over versions of a model; without shares, shows what is so",
  usage: "MODEL [VERSION=WEIGHT ...] [--shadow=VERSION:FRACTION] [--clear] --etcd=HOSTS [--cluster=NAME]",
  examples: [
    "shardserve traffic dlrm 41=95 42=5 --etcd=e1:2379 --cluster=prod",
    "shardserve traffic dlrm 41=1 --shadow=42:0.1 --etcd=e1:2379",
    "shardserve traffic dlrm --clear --etcd=e1:2379",
    "shardserve traffic dlrm --etcd=e1:2379 --json",
  ],
  flags: {
    ...OPERATOR_FLAGS,
    shadow: flag.text("version that gets copies of that part of the requests", "VERSION:FRACTION", ""),
    clear: flag.bool("all to the highest version again"),
  },
  async run([model, ...shares], flags, terminal) {
    if (model === undefined) throw new ServingError("CONFIG_INVALID", "traffic: give a model; see --help");
    const isGiven = shares.length > 0 || flags.shadow !== "";
    if (isGiven && flags.clear)
      throw new ServingError("CONFIG_INVALID", "traffic: give shares or a shadow, or --clear; see --help");
    const wanted = isGiven ? policyOf(model, shares, flags.shadow) : undefined;
    await withRegistry("traffic", flags, terminal, async (registry, outcome) => {
      let said: TrafficPolicy | undefined = wanted;
      const decide: Parameters<typeof change>[2] = (state, entry) => {
        const versions = state.models.get(model)?.versions;
        if (!versions)
          throw new ServingError("NOT_FOUND", `the cluster has no model ${model}; see \`shardserve status\``);
        if (flags.clear) return "delete";
        if (!wanted) {
          said = entry && trafficRecord.decode(entry.value, entry.key);
          return undefined;
        }
        for (const { version } of [...wanted.split, ...(wanted.shadow ? [wanted.shadow] : [])]) {
          if (versions.get(version)?.record?.value.state === "enabled") continue;
          throw new ServingError(
            "FAILED_PRECONDITION",
            `${model} version ${version} is not enabled; keep it with \`shardserve want ${model} --versions=latest:2\``,
          );
        }
        return trafficRecord.encode(wanted);
      };
      await change(registry, trafficKey(model), decide, terminal.signal);
      outcome.done(`${model}: ${said ? describe(said) : "all to the highest version"}`, {
        model,
        ...(said ?? { split: [] }),
      });
    });
  },
});

/** @throws ServingError CONFIG_INVALID naming what is wrong */
function policyOf(model: string, shares: readonly string[], shadow: string): TrafficPolicy {
  const split = shares.map((text) => {
    const [, version, weight] = /^(\d{1,15})=([\d.]+)$/.exec(text) ?? [];
    if (weight === undefined) throw new ServingError("CONFIG_INVALID", `traffic: ${text} is not VERSION=WEIGHT`);
    return { version: Number(version), weight: Number(weight) };
  });
  return checkTraffic(model, { split, ...(shadow !== "" && { shadow: shadowOf(shadow) }) });
}

function shadowOf(text: string): ShadowTraffic {
  const [, version, fraction] = /^(\d{1,15}):([\d.]+)$/.exec(text) ?? [];
  if (fraction === undefined) throw new ServingError("CONFIG_INVALID", `--shadow: ${text} is not VERSION:FRACTION`);
  return { version: Number(version), fraction: Number(fraction) };
}

function describe({ split, shadow }: TrafficPolicy): string {
  const shares = split.map(({ version, weight }) => `${version}=${weight}`).join(" ");
  const copies = shadow ? `, copies of ${shadow.fraction * 100} % to ${shadow.version}` : "";
  return `${shares === "" ? "all to the highest version" : shares}${copies}`;
}
