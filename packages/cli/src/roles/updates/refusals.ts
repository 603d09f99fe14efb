import { HOLDINGS_PREFIX, holdingKey, holdingRecord, type RecordedError, type Registry } from "@shardserve/registry";

/** What a shard says went wrong with a version that the maps give it. */
export interface Refusal {
  readonly shard: string;
  readonly error: RecordedError;
}

/** Of the shards that a map names, in its order. @throws ServingError REGISTRY_UNAVAILABLE */
export async function refusalsOf(
  registry: Registry,
  { model, version, shards }: { readonly model: string; readonly version: number; readonly shards: readonly string[] },
): Promise<Refusal[]> {
  const { entries } = await registry.list(HOLDINGS_PREFIX);
  const valueOf = new Map(entries.map(({ key, value }) => [key, value]));
  return shards.flatMap((shard) => {
    const key = holdingKey(shard, model, version);
    const value = valueOf.get(key);
    const error = value && holdingRecord.decode(value, key).error;
    return error ? [{ shard, error }] : [];
  });
}
