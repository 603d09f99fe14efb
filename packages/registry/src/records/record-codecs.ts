/**
 * Bytes of the registry's values, checked field by field when read. Unknown fields are ignored, so that an older program
 * reads what a newer one wrote; a missing or ill-typed field is refused.
 */
import { fromPlainMap, toPlainMap } from "@shardserve/placement";
import { decodeMessage, encodeMessage } from "@shardserve/transport";
import type {
  Addresses,
  AspiredRecord,
  EpochPlan,
  EpochRecord,
  ExecutorRecord,
  HoldingRecord,
  LabelsRecord,
  LeaderRecord,
  LevelWish,
  MapRecord,
  NewsRecord,
  RecordedError,
  RollbackRecord,
  ShardRecord,
  ShardWish,
  TrafficRecord,
  VersionPolicy,
  VersionRecord,
} from "./cluster-records.js";
import { RecordReader } from "./record-reader.js";

/** One kind of value: to bytes and back. */
export interface RecordCodec<T> {
  encode(record: T): Uint8Array;
  /** @throws ServingError INVALID_ARGUMENT naming `where`, the field and its rule */
  decode(bytes: Uint8Array, where: string): T;
}

function codec<T>(
  read: (reader: RecordReader) => T,
  write: (record: T) => unknown = (record) => record,
): RecordCodec<T> {
  return {
    encode: (record) => encodeMessage(write(record)),
    decode: (bytes, where) => read(new RecordReader(decodeMessage(bytes, where), where)),
  };
}

/** Codec of `shards/ID`. */
export const shardRecord: RecordCodec<ShardRecord> = codec((reader) => ({
  id: reader.text("id"),
  instance: reader.text("instance"),
  machine: reader.text("machine"),
  addresses: readAddresses(reader.object("addresses")),
  zone: reader.text("zone"),
  weight: reader.number("weight", Number.MIN_VALUE, 1e6),
  ...reader.optional("capacityBytes", () => reader.integer("capacityBytes")),
  isDraining: reader.boolean("isDraining"),
}));

/** Codec of `holdings/SHARD/NAME/V`. */
export const holdingRecord: RecordCodec<HoldingRecord> = codec((reader) => {
  const partitions = reader.integers("partitions");
  const digests = reader.texts("digests");
  if (digests.length !== partitions.length) reader.refuse("digests", `has ${digests.length} of ${partitions.length}`);
  return {
    instance: reader.text("instance"),
    manifestDigest: reader.text("manifestDigest"),
    epoch: reader.integer("epoch"),
    ...reader.optional("epochDigest", () => reader.text("epochDigest")),
    ...reader.optional("oldestEpoch", () => reader.integer("oldestEpoch")),
    partitions,
    digests,
    ...reader.optional("error", () => readError(reader.object("error"))),
    ...reader.optional("isDeltaError", () => reader.boolean("isDeltaError")),
    ...reader.optional("heldGeneration", () => reader.integer("heldGeneration")),
  };
});

/** Codec of `executors/ID`. */
export const executorRecord: RecordCodec<ExecutorRecord> = codec((reader) => ({
  id: reader.text("id"),
  instance: reader.text("instance"),
  addresses: readAddresses(reader.object("addresses")),
  zone: reader.text("zone"),
  serving: reader.objects("serving").map((item) => ({
    model: item.text("model"),
    version: item.integer("version"),
    state: item.oneOf("state", ["loading", "available", "unloading", "failed"]),
    ...item.optional("epoch", () => item.integer("epoch")),
    ...item.optional("memoryBytes", () => item.integer("memoryBytes")),
    ...item.optional("error", () => readError(item.object("error"))),
  })),
}));

/** Codec of `models/NAME/rollbacks/V`. */
export const rollbackRecord: RecordCodec<RollbackRecord> = codec((reader) => ({
  rejected: reader.integers("rejected"),
}));

/** Codec of `models/NAME/aspired`. */
export const aspiredRecord: RecordCodec<AspiredRecord> = codec((reader) => ({
  policy: readPolicy(reader.object("policy")),
  ...reader.optional("replication", () => reader.integer("replication", 1)),
}));

/** Codec of `wishes/SHARD`. */
export const shardWish: RecordCodec<ShardWish> = codec((reader) => ({ isDraining: reader.boolean("isDraining") }));

/** Codec of `models/NAME/level`. */
export const levelWish: RecordCodec<LevelWish> = codec((reader) => ({
  wishedAtMs: reader.number("wishedAtMs", 0, Number.MAX_SAFE_INTEGER),
}));

/** Codec of `news`. */
export const newsRecord: RecordCodec<NewsRecord> = codec((reader) => ({
  writtenAtMs: reader.number("writtenAtMs", 0, Number.MAX_SAFE_INTEGER),
}));

/** Codec of `traffic/NAME`. */
export const trafficRecord: RecordCodec<TrafficRecord> = codec((reader) => ({
  split: reader
    .objects("split")
    .map((item) => ({ version: item.integer("version"), weight: item.number("weight", Number.MIN_VALUE, 1e9) })),
  ...reader.optional("shadow", () => {
    const shadow = reader.object("shadow");
    return { version: shadow.integer("version"), fraction: shadow.number("fraction", Number.MIN_VALUE, 1) };
  }),
}));

/** Codec of `labels/NAME`. */
export const labelsRecord: RecordCodec<LabelsRecord> = codec(
  (reader) => ({
    labels: new Map(reader.objects("labels").map((item) => [item.text("label"), item.integer("version")] as const)),
  }),
  ({ labels }) => ({ labels: [...labels].map(([label, version]) => ({ label, version })) }),
);

/** Codec of `models/NAME/versions/V`. */
export const versionRecord: RecordCodec<VersionRecord> = codec((reader) => ({
  state: reader.oneOf("state", ["staged", "loaded", "enabled", "retiring", "failed"]),
  manifestDigest: reader.text("manifestDigest"),
  partitionCount: reader.integer("partitionCount", 1),
  bytes: reader.integer("bytes"),
  changedAtMs: reader.number("changedAtMs", 0, Number.MAX_SAFE_INTEGER),
  ...reader.optional("error", () => {
    const error = reader.object("error");
    return { ...readError(error), shard: error.text("shard") };
  }),
}));

/** Codec of `maps/NAME/V`. */
export const mapRecord: RecordCodec<MapRecord> = codec(
  (reader) => ({
    ...reader.optional("enabled", () => fromPlainMap(reader.raw("enabled"), `${reader.where}: enabled`)),
    ...reader.optional("staged", () => fromPlainMap(reader.raw("staged"), `${reader.where}: staged`)),
    ...reader.optional("target", () => fromPlainMap(reader.raw("target"), `${reader.where}: target`)),
    ...reader.optional("epochs", () => readEpochPlan(reader.object("epochs"))),
    ...reader.optional("manifestDigest", () => reader.text("manifestDigest")),
  }),
  ({ enabled, staged, target, epochs, manifestDigest }) => ({
    ...(enabled && { enabled: toPlainMap(enabled) }),
    ...(staged && { staged: toPlainMap(staged) }),
    ...(target && { target: toPlainMap(target) }),
    ...(epochs && { epochs }),
    ...(manifestDigest !== undefined && { manifestDigest }),
  }),
);

/** Codec of `leader`. */
export const leaderRecord: RecordCodec<LeaderRecord> = codec((reader) => ({
  id: reader.text("id"),
  instance: reader.text("instance"),
}));

function readEpochPlan(reader: RecordReader): EpochPlan {
  const chain = reader.objects("chain").map(
    (item): EpochRecord => ({
      epoch: item.integer("epoch", 1),
      digest: item.text("digest"),
      ...item.optional("fold", () => item.text("fold")),
    }),
  );
  chain.forEach(({ epoch, fold }, i) => {
    if (i > 0 && fold !== undefined) reader.refuse("chain", "has a fold that is not its first");
    if (i > 0 && epoch <= chain[i - 1]!.epoch) reader.refuse("chain", "is out of order");
  });
  return { chain, oldest: reader.integer("oldest") };
}

function readAddresses(reader: RecordReader): Addresses {
  return {
    ...reader.optional("tcp", () => reader.text("tcp")),
    ...reader.optional("unix", () => reader.text("unix")),
    ...reader.optional("grpc", () => reader.text("grpc")),
    ...reader.optional("rest", () => reader.text("rest")),
  };
}

function readError(reader: RecordReader): RecordedError {
  return { code: reader.text("code"), message: reader.text("message") };
}

function readPolicy(reader: RecordReader): VersionPolicy {
  const kind = reader.oneOf("kind", ["latest", "all", "specific"]);
  if (kind === "latest") return { kind, count: reader.integer("count", 1) };
  return kind === "all" ? { kind } : { kind, versions: reader.integers("versions") };
}
