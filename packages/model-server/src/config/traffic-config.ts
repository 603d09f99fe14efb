import { type ModelTraffic, type TrafficConfig, TrafficConfigSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { checkTraffic, type TrafficPolicy } from "@shardserve/servable";
import { readTextFile } from "./text-file.js";

/**
 * Reads a --traffic-config-file: a shardserve.v1.TrafficConfig in protobuf's text format.
 *
 * @throws ServingError NOT_FOUND when the file cannot be read, CONFIG_INVALID "PATH:LINE:COLUMN: ..."
 */
export function readTrafficFile(path: string): Promise<TrafficConfig> {
  return readTextFile(TrafficConfigSchema, path);
}

/**
 * The policies of a configuration, by model.
 *
 * @throws ServingError CONFIG_INVALID naming the model and the rule
 */
export function trafficPolicies(config: TrafficConfig): ReadonlyMap<string, TrafficPolicy> {
  const policies = new Map<string, TrafficPolicy>();
  for (const model of config.model) {
    if (model.name === "") throw new ServingError("CONFIG_INVALID", "traffic configuration: a model has no name");
    if (policies.has(model.name))
      throw new ServingError("CONFIG_INVALID", `traffic configuration: model ${model.name} is listed twice`);
    policies.set(model.name, policyOf(model));
  }
  return policies;
}

function policyOf({ name, split, shadow }: ModelTraffic): TrafficPolicy {
  return checkTraffic(name, {
    split: split.map(({ version, weight }) => ({ version: Number(version), weight })),
    ...(shadow && { shadow: { version: Number(shadow.version), fraction: shadow.fraction } }),
  });
}
