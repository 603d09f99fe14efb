import { ServingError } from "@shardserve/core";
import { type Misses, partitionOfLanes, type Routes } from "./frame-plan.js";

/** Errors that another replica, or the same one later, may not give. */
export function isRetryable({ code }: ServingError): boolean {
  switch (code) {
    case "UNAVAILABLE":
    case "DRAINING":
    case "PARTITION_NOT_OWNED":
    case "VERSION_NOT_READY":
    case "EPOCH_MISMATCH": // not yet there, or no longer
    case "RESOURCE_EXHAUSTED":
    case "DIGEST_MISMATCH":
    case "FRAME_INVALID": // the connection was closed; a healthy replica can answer
      return true;
    default:
      return false;
  }
}

/** A shard's own failure: it may be broken, its replicas need not be. */
export function isFailure({ code }: ServingError): boolean {
  return code === "INTERNAL" || code === "ENGINE_FAILED";
}

/** Errors that speak against the shard itself rather than against what was asked of it, or how much. */
export function isFault(error: ServingError): boolean {
  const { code } = error;
  return isFailure(error) || code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED" || code === "FRAME_INVALID";
}

/**
 * The first of these rows whose partition has no replica that was connected lately, and none that could be connected since
 * the rows were needed: waiting for one would take a restart, not a moment.
 *
 * @returns position in the miss columns; -1 when there is none
 */
export function firstUnreachable(
  { map, links }: Routes,
  misses: Misses,
  pending: Int32Array,
  nowMs: number,
  neededSinceMs: number,
): number {
  for (const row of pending) {
    const start = partitionOfRow(misses, row, map.partitionCount) * map.replication;
    const replicas = map.replicas.subarray(start, start + map.replication);
    if (replicas.every((i) => links[i]?.isDown(nowMs, neededSinceMs))) return row;
  }
  return -1;
}

/** Why no replica of a row's partition can be asked; `cause` is the last failure before. */
export function whyUnroutable(
  { map, links }: Routes,
  misses: Misses,
  row: number,
  cause: ServingError | undefined,
): ServingError {
  const partition = partitionOfRow(misses, row, map.partitionCount);
  const start = partition * map.replication;
  const reasons: string[] = [];
  let isWrong = false;
  for (let i = 0; i < map.replication; i++) {
    const link = links[map.replicas[start + i]!];
    if (link?.lastError?.code === "DIGEST_MISMATCH") isWrong = true;
    reasons.push(
      `${link?.shard ?? "?"}: ${link?.lastError?.message ?? (link?.isReady ? "does not hold it" : "not connected")}`,
    );
  }
  const text = `no replica of partition ${partition} of ${map.model}/${map.version} can be asked (${reasons.join("; ")})`;
  return new ServingError(isWrong ? "DIGEST_MISMATCH" : "UNAVAILABLE", text, { details: { partition }, cause });
}

/** The deadline passed; `cause` is the last failure before. */
export function expired(servable: string, cause: ServingError | undefined): ServingError {
  const why = cause ? `; the last failure was: ${cause.message}` : "";
  return new ServingError("DEADLINE_EXCEEDED", `rows of ${servable} were not fetched in time${why}`, { cause });
}

function partitionOfRow({ lo, hi }: Misses, row: number, partitionCount: number): number {
  return partitionOfLanes(lo[row]!, hi[row]!, partitionCount);
}
