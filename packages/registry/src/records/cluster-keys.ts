/**
 * Where what stands in the registry (docs/formats.md, "Registry"). Keys are relative to `/shardserve/CLUSTER/`;
 * names and ids are percent-encoded, so that a slash in a name makes no level. Values: cluster-records.ts.
 *
 * | key | written by | lives | value |
 * |---|---|---|---|
 * | `shards/ID` | the shard | its lease | ShardRecord |
 * | `holdings/ID/NAME/V` | the shard | its lease | HoldingRecord |
 * | `executors/ID` | the executor | its lease | ExecutorRecord |
 * | `wishes/ID` | operator, for a shard | until deleted | ShardWish |
 * | `models/NAME/aspired` | operator, or nobody | until deleted | AspiredRecord |
 * | `models/NAME/level` | operator; the leader deletes it | until done | LevelWish |
 * | `labels/NAME` | operator | until deleted | LabelsRecord |
 * | `traffic/NAME` | operator | until deleted | TrafficRecord |
 * | `models/NAME/versions/V` | leader | until removed | VersionRecord |
 * | `models/NAME/rollbacks/V` | operator | until deleted | RollbackRecord |
 * | `maps/NAME/V` | leader | with the version | MapRecord |
 * | `leader` | the elected shard | its lease | LeaderRecord |
 * | `news` | whoever puts epochs into an object store | for ever | NewsRecord |
 */
import { ServingError } from "@shardserve/core";

/** Of the keys of living shards. */
export const SHARDS_PREFIX = "shards/";
/** Of the keys that say what living shards hold. */
export const HOLDINGS_PREFIX = "holdings/";
/** Of the keys of living executors. */
export const EXECUTORS_PREFIX = "executors/";
/** Of the keys of models and their versions. */
export const MODELS_PREFIX = "models/";
/** Of the keys of partition maps. */
export const MAPS_PREFIX = "maps/";
/** Of the keys of what operators want of shards. */
const WISHES_PREFIX = "wishes/";
/** Of the keys of labels. */
export const LABELS_PREFIX = "labels/";
/** Of the keys of traffic splits. */
export const TRAFFIC_PREFIX = "traffic/";
/** Held by the shard that leads. */
export const LEADER_KEY = "leader";
/** Written by whoever puts an epoch into an object store: the leader looks there at once. */
export const NEWS_KEY = "news";

/** What a key names; undefined from {@link parseKey} when it is none of ours (a newer program's, say). */
export type ParsedKey =
  | { readonly kind: "shard"; readonly id: string }
  | { readonly kind: "holding"; readonly shard: string; readonly model: string; readonly version: number }
  | { readonly kind: "executor"; readonly id: string }
  | { readonly kind: "wish"; readonly shard: string }
  | { readonly kind: "aspired"; readonly model: string }
  | { readonly kind: "level"; readonly model: string }
  | { readonly kind: "labels"; readonly model: string }
  | { readonly kind: "traffic"; readonly model: string }
  | { readonly kind: "version"; readonly model: string; readonly version: number }
  | { readonly kind: "rollback"; readonly model: string; readonly version: number }
  | { readonly kind: "map"; readonly model: string; readonly version: number }
  | { readonly kind: "leader" };

/** Under the shard's own lease: it vanishes with the process. */
export function shardKey(id: string): string {
  return SHARDS_PREFIX + segment(id);
}

/** Under the same lease as {@link shardKey}; one key a version, so that proving one version rewrites nothing else. */
export function holdingKey(shard: string, model: string, version: number): string {
  return `${HOLDINGS_PREFIX}${segment(shard)}/${segment(model)}/${versionText(version)}`;
}

/** Under the executor's own lease: it vanishes with the process. */
export function executorKey(id: string): string {
  return EXECUTORS_PREFIX + segment(id);
}

/** What the operator wants of a model. */
export function aspiredKey(model: string): string {
  return `${MODELS_PREFIX}${segment(model)}/aspired`;
}

/** What the operator wants of a shard, alive or not. */
export function wishKey(shard: string): string {
  return WISHES_PREFIX + segment(shard);
}

/** Present while the operator wants the model's partitions to be levelled over the shards. */
export function levelKey(model: string): string {
  return `${MODELS_PREFIX}${segment(model)}/level`;
}

/** How a model's requests are split over its versions. */
export function trafficKey(model: string): string {
  return TRAFFIC_PREFIX + segment(model);
}

/** Which version each label of a model names. */
export function labelsKey(model: string): string {
  return LABELS_PREFIX + segment(model);
}

/** How far the rollout of a version is. */
export function versionKey(model: string, version: number): string {
  return `${MODELS_PREFIX}${segment(model)}/versions/${versionText(version)}`;
}

/** Epochs of a version that the operator took back. */
export function rollbackKey(model: string, version: number): string {
  return `${MODELS_PREFIX}${segment(model)}/rollbacks/${versionText(version)}`;
}

/** Which shards hold the partitions of a version: in force, and staged. */
export function mapKey(model: string, version: number): string {
  return `${MAPS_PREFIX}${segment(model)}/${versionText(version)}`;
}

/** What a key names; undefined for a key that is none of ours. */
export function parseKey(key: string): ParsedKey | undefined {
  if (key === LEADER_KEY) return { kind: "leader" };
  const parts = key.split("/").map(decodeSegment);
  const [root, a, b, c] = parts;
  if (a === undefined || a === "" || parts.includes(undefined)) return undefined;
  if (root === "shards" && parts.length === 2) return { kind: "shard", id: a };
  if (root === "executors" && parts.length === 2) return { kind: "executor", id: a };
  if (root === "wishes" && parts.length === 2) return { kind: "wish", shard: a };
  if (root === "traffic" && parts.length === 2) return { kind: "traffic", model: a };
  if (root === "labels" && parts.length === 2) return { kind: "labels", model: a };
  if (root === "models" && parts.length === 3 && b === "aspired") return { kind: "aspired", model: a };
  if (root === "models" && parts.length === 3 && b === "level") return { kind: "level", model: a };
  if (root === "models" && parts.length === 4 && b === "versions") {
    const version = parseVersion(c);
    return version === undefined ? undefined : { kind: "version", model: a, version };
  }
  if (root === "models" && parts.length === 4 && b === "rollbacks") {
    const version = parseVersion(c);
    return version === undefined ? undefined : { kind: "rollback", model: a, version };
  }
  if (root === "maps" && parts.length === 3) {
    const version = parseVersion(b);
    return version === undefined ? undefined : { kind: "map", model: a, version };
  }
  if (root === "holdings" && parts.length === 4 && b) {
    const version = parseVersion(c);
    return version === undefined ? undefined : { kind: "holding", shard: a, model: b, version };
  }
  return undefined;
}

function segment(name: string): string {
  if (name === "") throw new ServingError("INVALID_ARGUMENT", "a name in a registry key is empty; give it a name");
  return encodeURIComponent(name);
}

function decodeSegment(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // not percent-encoded by us
  }
}

function versionText(version: number): string {
  if (!Number.isSafeInteger(version) || version < 0) {
    throw new ServingError("INVALID_ARGUMENT", `version ${version} is not an integer in [0, 2^53)`);
  }
  return String(version);
}

function parseVersion(text: string | undefined): number | undefined {
  if (text === undefined || !/^(0|[1-9]\d{0,15})$/.test(text)) return undefined;
  const version = Number(text);
  return Number.isSafeInteger(version) ? version : undefined;
}
