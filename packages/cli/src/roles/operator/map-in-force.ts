import { ServingError } from "@shardserve/core";
import { type MapRecord, mapKey, mapRecord, parseKey, type Registry } from "@shardserve/registry";

/** A version that is served, and the map by which it is. */
export interface MapInForce {
  readonly version: number;
  readonly record: MapRecord;
  readonly modRevision: number;
}

/**
 * @param version  -1 = the newest in force
 * @throws ServingError NOT_FOUND when no such version is in force
 */
export async function mapInForce(
  registry: Registry,
  model: string,
  version: number,
  signal: AbortSignal,
): Promise<MapInForce> {
  const { entries } = await registry.list(mapKey(model, 0).replace(/0$/, ""), { signal });
  const found = entries.flatMap(({ key, value, modRevision }): MapInForce[] => {
    const parsed = parseKey(key);
    if (parsed?.kind !== "map" || parsed.model !== model || (version >= 0 && parsed.version !== version)) return [];
    const record = mapRecord.decode(value, key);
    return record.enabled ? [{ version: parsed.version, record, modRevision }] : [];
  });
  const newest = found.sort((a, b) => b.version - a.version)[0];
  if (newest) return newest;
  throw new ServingError(
    "NOT_FOUND",
    `${model}${version >= 0 ? ` version ${version}` : ""} is not in force; see \`shardserve status\``,
  );
}
