import { ServingError } from "@shardserve/core";
import { hashPoint } from "@shardserve/placement";

/** A version's part of the requests that name neither version nor label. */
export interface TrafficShare {
  readonly version: number;
  /** Relative to the other shares; > 0. */
  readonly weight: number;
}

/** A version that gets copies of requests; its answers are compared and thrown away. */
export interface ShadowTraffic {
  readonly version: number;
  /** Part of the model's requests that is copied, in (0, 1]. */
  readonly fraction: number;
}

/** How the requests of one model that name neither version nor label are shared out. */
export interface TrafficPolicy {
  /** Ascending by version, none twice; empty = all to the highest available version. */
  readonly split: readonly TrafficShare[];
  readonly shadow?: ShadowTraffic;
}

/** Versions of one split: what a request pays for its choice. */
const SHARES_MAX = 16;

/**
 * A policy as an operator wrote it, checked and in order.
 *
 * @throws ServingError CONFIG_INVALID naming the model and the rule
 */
export function checkTraffic(model: string, { split, shadow }: TrafficPolicy): TrafficPolicy {
  const refuse = (text: string) => new ServingError("CONFIG_INVALID", `traffic of model ${model}: ${text}`);
  for (const version of [...split.map((share) => share.version), ...(shadow ? [shadow.version] : [])]) {
    if (!Number.isSafeInteger(version) || version < 0)
      throw refuse(`version ${version} lies outside 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  for (const { version, weight } of split) {
    if (!(weight > 0 && Number.isFinite(weight)))
      throw refuse(`version ${version} has weight ${weight}; give a number above 0, or leave it out`);
  }
  if (split.length > SHARES_MAX) throw refuse(`a split names at most ${SHARES_MAX} versions, not ${split.length}`);
  const sorted = [...split].sort((a, b) => a.version - b.version);
  const twin = sorted.find(({ version }, i) => version === sorted[i + 1]?.version);
  if (twin) throw refuse(`version ${twin.version} is twice in the split`);
  if (shadow && !(shadow.fraction > 0 && shadow.fraction <= 1))
    throw refuse(`the shadow's fraction is ${shadow.fraction}; give a number above 0, at most 1`);
  return { split: sorted, ...(shadow && { shadow }) };
}

/** Points of a request key: as many as a double tells apart. */
const POINTS = 2 ** 53;

/** Where the requests with one sticky key stand between 0 and 1: the same in every process, for the life of the key. */
export function stickyPoint(model: string, key: string): number {
  return hashPoint(`${model}\0${key}`, 0) / POINTS;
}

/**
 * The version that a request goes to. Shares lie side by side from 0 to 1 in order of their versions, so that moving
 * weight between two neighbours moves only the keys in between.
 *
 * @param shares  of the versions that are available; at least one
 * @param point   in [0, 1)
 */
export function versionAt(shares: readonly TrafficShare[], point: number): number {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  let left = point * total;
  for (const { version, weight } of shares) {
    left -= weight;
    if (left < 0) return version;
  }
  return shares.at(-1)!.version; // a rounding error at the very end
}
