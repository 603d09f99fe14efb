import { type ModelTraffic, type TrafficConfig, TrafficConfigSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { TrafficPolicy, TrafficShare } from "@shardserve/servable";
import { readTextFile } from "./text-file.js";

/** Versions of one split: what a request pays for its choice. */
const SHARES_MAX = 16;

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
    if (model.name === "") throw invalid("a model has no name");
    if (policies.has(model.name)) throw invalid(`model ${model.name} is listed twice`);
    policies.set(model.name, policyOf(model));
  }
  return policies;
}

function policyOf({ name, split, shadow }: ModelTraffic): TrafficPolicy {
  const shares: TrafficShare[] = split.map(({ version, weight }) => {
    if (!(weight > 0 && Number.isFinite(weight))) {
      throw invalid(`model ${name}: version ${version} has weight ${weight}; give a number above 0, or leave it out`);
    }
    return { version: versionNumber(name, version), weight };
  });
  if (shares.length > SHARES_MAX) {
    throw invalid(`model ${name}: a split names at most ${SHARES_MAX} versions, not ${shares.length}`);
  }
  shares.sort((a, b) => a.version - b.version);
  const twin = shares.find(({ version }, i) => version === shares[i + 1]?.version);
  if (twin) throw invalid(`model ${name}: version ${twin.version} is twice in the split`);
  if (!shadow) return { split: shares };
  const { fraction } = shadow;
  if (!(fraction > 0 && fraction <= 1)) {
    throw invalid(`model ${name}: the shadow's fraction is ${fraction}; give a number above 0, at most 1`);
  }
  return { split: shares, shadow: { version: versionNumber(name, shadow.version), fraction } };
}

function versionNumber(model: string, version: bigint): number {
  if (version >= 0n && version <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(version);
  throw invalid(`model ${model}: version ${version} lies outside 0 to ${Number.MAX_SAFE_INTEGER}`);
}

function invalid(message: string): ServingError {
  return new ServingError("CONFIG_INVALID", `traffic configuration: ${message}`);
}
