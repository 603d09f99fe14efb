import { byIdentity, ServingError } from "@shardserve/core";

/** Largest partition count; keeps `mix64Mod` exact and a map below 256 KiB a replica. */
export const PARTITION_COUNT_MAX = 1 << 17;
/** Largest replication factor. */
export const REPLICATION_MAX = 16;
/** Most shards a map may name: indexes are 16 bits wide. */
export const SHARD_COUNT_MAX = 0xffff;
/** Longest model name or shard id, in UTF-16 units. */
const NAME_LENGTH_MAX = 512;

/**
 * Which shards hold which partition of one model version. Immutable; swapped as a whole; never merged.
 *
 * `replicas` has the shape [partitionCount, replication], row-major: element `partition * replication + i` is the index
 * into `shards` of replica i. A row names distinct shards. Replica 0 is the first to ask; ring order spreads it evenly.
 */
export interface PartitionMap {
  /** Grows with every enabled map of this version; 0 only for a map that was computed and never published. */
  readonly generation: number;
  readonly model: string;
  readonly version: number;
  /** Committed delta; 0 = as exported. */
  readonly epoch: number;
  readonly partitionCount: number;
  readonly replication: number;
  /** Shard ids, sorted, without duplicates. All of them hold something. */
  readonly shards: readonly string[];
  readonly replicas: Uint16Array;
}

/** PartitionMap as a msgpack-able value: `replicas` are little-endian uint16 bytes. */
export interface PlainPartitionMap {
  readonly format: 1;
  readonly generation: number;
  readonly model: string;
  readonly version: number;
  readonly epoch: number;
  readonly partitionCount: number;
  readonly replication: number;
  readonly shards: readonly string[];
  readonly replicas: Uint8Array;
}

/** Shard ids that hold `partition`, in order of preference. */
export function replicasOf(map: PartitionMap, partition: number): string[] {
  const row: string[] = [];
  for (let i = partition * map.replication; i < (partition + 1) * map.replication; i++) {
    const id = map.shards[map.replicas[i] ?? -1];
    if (id !== undefined) row.push(id);
  }
  return row;
}

/** Partitions that `shard` holds under this map, ascending; empty when the map does not name it. */
export function partitionsOf(map: PartitionMap, shard: string): readonly number[] {
  return partitionsByShard(map).get(shard) ?? [];
}

/** One pass over a map for all its shards: whoever asks for one of a thousand usually asks for the others too. */
const partitionsByShard = byIdentity((map: PartitionMap): ReadonlyMap<string, readonly number[]> => {
  const held = map.shards.map((): number[] => []);
  for (let i = 0; i < map.replicas.length; i++) {
    held[map.replicas[i]!]?.push(Math.floor(i / map.replication));
  }
  return new Map(map.shards.map((shard, i) => [shard, held[i] as number[]]));
});

/** How many partitions each shard holds under this map, by its index in `shards`. */
export function loadOf(map: PartitionMap): Uint32Array {
  const load = new Uint32Array(map.shards.length);
  for (const index of map.replicas) load[index] = load[index]! + 1;
  return load;
}

/**
 * How many partitions each shard holds under any of these maps of one version, a partition counted once: what it maps while
 * a move is staged.
 */
export function unionLoads(maps: readonly PartitionMap[]): Map<string, number> {
  const loads = new Map<string, number>();
  const [first, ...others] = maps;
  if (!first) return loads;
  for (const [i, count] of loadOf(first).entries()) loads.set(first.shards[i]!, count);
  if (others.length === 0) return loads;
  for (let p = 0; p < first.partitionCount; p++) {
    const seen = new Set(replicasOf(first, p));
    for (const id of others.flatMap((map) => replicasOf(map, p))) {
      if (seen.has(id)) continue;
      seen.add(id);
      loads.set(id, (loads.get(id) ?? 0) + 1);
    }
  }
  return loads;
}

/** True when both maps place every partition on the same shards in the same order; generation and epoch do not count. */
export function isSamePlacement(a: PartitionMap, b: PartitionMap): boolean {
  return (
    a.model === b.model &&
    a.version === b.version &&
    a.partitionCount === b.partitionCount &&
    a.replication === b.replication &&
    a.shards.length === b.shards.length &&
    a.shards.every((id, i) => id === b.shards[i]) &&
    a.replicas.every((index, i) => index === b.replicas[i])
  );
}

/** The map as msgpack stores it in the registry; {@link fromPlainMap} reads it back. */
export function toPlainMap(map: PartitionMap): PlainPartitionMap {
  const replicas = new Uint8Array(map.replicas.length * 2);
  const view = new DataView(replicas.buffer);
  for (let i = 0; i < map.replicas.length; i++) view.setUint16(i * 2, map.replicas[i] ?? 0, true);
  return { ...map, format: 1, shards: [...map.shards], replicas };
}

/**
 * Reads a plain map that a peer or the registry sent. Every field is checked before anything of its size is allocated.
 *
 * @param where  what is being read, for messages ("maps/ctr/3")
 * @throws ServingError INVALID_ARGUMENT naming the field that breaks which rule
 */
export function fromPlainMap(raw: unknown, where: string): PartitionMap {
  const refuse = (rule: string): never => {
    throw new ServingError("INVALID_ARGUMENT", `${where}: not a partition map: ${rule}`);
  };
  if (typeof raw !== "object" || raw === null) return refuse("it is not an object");
  const plain = raw as Readonly<Record<string, unknown>>;
  if (plain.format !== 1) return refuse(`format is ${String(plain.format)}, this program reads 1`);
  const integer = (field: string, min: number, max: number): number => {
    const value = plain[field];
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
      return refuse(`${field} is not an integer in [${min}, ${max}]`);
    }
    return value;
  };
  const model = plain.model;
  if (typeof model !== "string" || model === "" || model.length > NAME_LENGTH_MAX) {
    return refuse(`model is not a text of 1 to ${NAME_LENGTH_MAX} characters`);
  }
  const generation = integer("generation", 0, Number.MAX_SAFE_INTEGER);
  const version = integer("version", 0, Number.MAX_SAFE_INTEGER);
  const epoch = integer("epoch", 0, Number.MAX_SAFE_INTEGER);
  const partitionCount = integer("partitionCount", 1, PARTITION_COUNT_MAX);
  const replication = integer("replication", 1, REPLICATION_MAX);

  const shards = plain.shards;
  if (!Array.isArray(shards) || shards.length < replication || shards.length > SHARD_COUNT_MAX) {
    return refuse(`shards is not a list of ${replication} to ${SHARD_COUNT_MAX} ids`);
  }
  for (let i = 0; i < shards.length; i++) {
    const id: unknown = shards[i];
    if (typeof id !== "string" || id === "" || id.length > NAME_LENGTH_MAX) return refuse(`shards[${i}] is not an id`);
    if (i > 0 && id <= shards[i - 1]!) return refuse(`shards[${i}] is out of order or twice there`);
  }

  const bytes = plain.replicas;
  const count = partitionCount * replication;
  if (!(bytes instanceof Uint8Array) || bytes.byteLength !== count * 2) {
    return refuse(`replicas is not ${count * 2} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const replicas = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const index = view.getUint16(i * 2, true);
    if (index >= shards.length) return refuse(`partition ${Math.floor(i / replication)} names shard index ${index}`);
    for (let j = i - (i % replication); j < i; j++) {
      if (replicas[j] === index) return refuse(`partition ${Math.floor(i / replication)} names one shard twice`);
    }
    replicas[i] = index;
  }
  return { generation, model, version, epoch, partitionCount, replication, shards: shards as string[], replicas };
}
