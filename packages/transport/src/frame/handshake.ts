import { ServingError } from "@shardserve/core";
import { asRecord } from "./message.js";

/** Version of the frame protocol. Ends with different majors refuse each other. */
export const PROTOCOL_VERSION = 1;

/** Payload of HELLO. */
export interface Hello {
  readonly protocol: number;
  /** Who calls, for the server's log: "executor executor-1". */
  readonly peer: string;
}

/** Payload of WELCOME: who answers and what it accepts. */
export interface Welcome {
  readonly protocol: number;
  readonly peer: string;
  readonly inFlightMax: number;
  readonly requestBytesMax: number;
  readonly replyBytesMax: number;
  /** LOOKUP may carry a trace: its spans are of use to somebody. Servers that do not know of it do not say it: false. */
  readonly takesTraces: boolean;
}

/** @throws ServingError FRAME_INVALID */
export function readHello(message: unknown): Hello {
  const { protocol, peer } = asRecord(message, "HELLO");
  if (protocol !== PROTOCOL_VERSION || typeof peer !== "string") {
    throw new ServingError(
      "FRAME_INVALID",
      `the peer speaks protocol ${String(protocol)}, this server speaks ${PROTOCOL_VERSION}`,
    );
  }
  return { protocol, peer };
}

/** @throws ServingError FRAME_INVALID */
export function readWelcome(message: unknown): Welcome {
  const { protocol, peer, inFlightMax, requestBytesMax, replyBytesMax, takesTraces } = asRecord(message, "WELCOME");
  if (protocol !== PROTOCOL_VERSION || typeof peer !== "string") {
    throw new ServingError(
      "FRAME_INVALID",
      `the server speaks protocol ${String(protocol)}, this client speaks ${PROTOCOL_VERSION}`,
    );
  }
  return {
    protocol,
    peer,
    inFlightMax: count(inFlightMax, "WELCOME.inFlightMax"),
    requestBytesMax: count(requestBytesMax, "WELCOME.requestBytesMax"),
    replyBytesMax: count(replyBytesMax, "WELCOME.replyBytesMax"),
    takesTraces: takesTraces === true,
  };
}

/** The CALL by which a client asks for the rows of one model version. */
export const OPEN_METHOD = "open";

/** Parameters of `open`. */
export interface OpenRequest {
  readonly cluster: string;
  readonly model: string;
  readonly version: number;
}

/** What a shard proves when a version is opened: what it is, and the digest of every partition file that it has mapped. */
export interface ShardProof {
  readonly cluster: string;
  readonly shard: string;
  readonly model: string;
  readonly version: number;
  readonly epoch: number;
  /** Number to put into LOOKUP frames of this connection. */
  readonly channel: number;
  /** Digest of the version's manifest as the shard read it, hex. */
  readonly manifestDigest: string;
  /** Partitions held, and the digest of each one's file in the same order. */
  readonly partitions: readonly number[];
  readonly digests: readonly string[];
}

/** What the client knows from its own manifest. */
export interface ProofExpectation {
  readonly cluster: string;
  readonly model: string;
  readonly version: number;
  readonly manifestDigest: string;
  /** Digest of a partition's file; undefined when the version has no such partition. */
  readonly partitionDigest: (partition: number) => string | undefined;
}

/** @throws ServingError FRAME_INVALID */
export function readOpenRequest(message: unknown): OpenRequest {
  const { cluster, model, version } = asRecord(message, "open");
  if (typeof cluster !== "string" || typeof model !== "string") {
    throw new ServingError("FRAME_INVALID", "open needs the texts cluster and model");
  }
  return { cluster, model, version: count(version, "open.version") };
}

/** @throws ServingError FRAME_INVALID */
export function readShardProof(message: unknown): ShardProof {
  const record = asRecord(message, "the reply to open");
  const { cluster, shard, model, manifestDigest, partitions, digests } = record;
  const isWellFormed =
    typeof cluster === "string" &&
    typeof shard === "string" &&
    typeof model === "string" &&
    typeof manifestDigest === "string" &&
    isArrayOf(partitions, isCount) &&
    isArrayOf(digests, (item): item is string => typeof item === "string") &&
    partitions.length === digests.length;
  if (!isWellFormed) throw new ServingError("FRAME_INVALID", "the reply to open is not a shard's proof");
  return {
    cluster,
    shard,
    model,
    manifestDigest,
    partitions,
    digests,
    version: count(record["version"], "proof.version"),
    epoch: count(record["epoch"], "proof.epoch"),
    channel: count(record["channel"], "proof.channel"),
  };
}

/**
 * Compares a shard's proof with the manifest; pure.
 *
 * @throws ServingError DIGEST_MISMATCH naming the shard and the first difference: such a shard is not asked for rows
 */
export function verifyProof(proof: ShardProof, expected: ProofExpectation): void {
  const differs = (what: string, theirs: unknown, ours: unknown, question = "") => {
    throw new ServingError(
      "DIGEST_MISMATCH",
      `shard ${proof.shard} proves ${what} ${String(theirs)}, expected ${String(ours)}; it is not used${question}`,
      { details: { shard: proof.shard, what } },
    );
  };
  if (proof.cluster !== expected.cluster) differs("cluster", proof.cluster, expected.cluster);
  if (proof.model !== expected.model) differs("model", proof.model, expected.model);
  if (proof.version !== expected.version) differs("version", proof.version, expected.version);
  if (proof.manifestDigest !== expected.manifestDigest) {
    differs("manifest digest", proof.manifestDigest, expected.manifestDigest, ": is it the same model repository?");
  }
  proof.partitions.forEach((partition, i) => {
    const ours = expected.partitionDigest(partition);
    if (proof.digests[i] !== ours) differs(`for partition ${partition} digest`, proof.digests[i], ours);
  });
}

function isArrayOf<T>(value: unknown, check: (item: unknown) => item is T): value is T[] {
  return Array.isArray(value) && value.every((item) => check(item));
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function count(value: unknown, what: string): number {
  if (!isCount(value)) throw new ServingError("FRAME_INVALID", `${what} must be an integer >= 0`);
  return value;
}
