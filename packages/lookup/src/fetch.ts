import { type Clock, type Logger, type Random, ServingError, sleep } from "@shardserve/core";
import {
  readRowsReply,
  type ReplyPayload,
  type RowsReply,
  type RowsTable,
  statusCode,
  TABLE_STATUS,
} from "@shardserve/transport";
import type { LookupBatch } from "./batch.js";
import { type FramePlan, partitionOfLanes, planFrames, type Routes } from "./frame-plan.js";
import type { LookupMetrics } from "./metrics.js";
import type { ShardLink } from "./shard-link.js";

export interface FetchContext {
  /** The routes now; they may be swapped between two rounds. */
  readonly routes: () => Routes;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: LookupMetrics;
  /** "ctr/3", for messages. */
  readonly servable: string;
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** On the clock's `nowMs` scale. */
  readonly deadlineMs: number;
}

/** Rows written in one go before other work gets a turn: 8 MiB take about 5 ms. */
const TURN_BYTES = 8 * 2 ** 20;
/** Longest pause before all replicas are tried again. */
const PAUSE_MAX_MS = 100;

/** What became of one frame. */
interface Outcome {
  /** Positions in the miss columns that are still missing. */
  readonly missing: Int32Array;
  readonly error: ServingError | undefined;
  /** Whether another replica, or the same one later, may do better. */
  readonly isRetryable: boolean;
}

const NOTHING = new Int32Array(0);

/**
 * Fetches the rows that a batch misses: one frame per shard, all at once; what a shard could not give is asked of the
 * partition's other replicas, and when none is left, of all again after a pause, until the deadline.
 *
 * @throws ServingError DEADLINE_EXCEEDED; UNAVAILABLE or RESOURCE_EXHAUSTED naming shard and cause; what no retry can mend;
 * the signal's reason. Nothing is written after it settled.
 */
export async function fetchMisses(batch: LookupBatch, context: FetchContext, options: FetchOptions): Promise<void> {
  const { clock, random, metrics } = context;
  const { deadlineMs, signal } = options;
  const avoid = new Set<ShardLink>();
  let pending = Int32Array.from({ length: batch.missCount }, (_, i) => i);
  let lastError: ServingError | undefined;
  let pauseMs = 5;
  for (;;) {
    const routes = context.routes();
    if (routes.map.epoch !== batch.epoch) {
      throw new ServingError(
        "EPOCH_MISMATCH",
        `${context.servable} moved from epoch ${batch.epoch} to ${routes.map.epoch}`,
      );
    }
    const remainingMs = Math.ceil(deadlineMs - clock.nowMs());
    if (remainingMs <= 0) throw expired(context, lastError);
    const header = { generation: routes.map.generation, epoch: batch.epoch, remainingMs };
    const plan = planFrames(routes, batch.misses, pending, avoid, header, random);
    const outcomes = await Promise.all(plan.frames.map((frame) => ask(frame, batch, context, options)));
    signal?.throwIfAborted();
    const missing = [...plan.unroutable];
    outcomes.forEach(({ missing: rows, error, isRetryable: canRetry }, i) => {
      for (const row of rows) missing.push(row);
      if (!error) return;
      lastError = error;
      if (!canRetry) throw error;
      metrics.retries.inc({ code: error.code });
      avoid.add((plan.frames[i] as FramePlan).link);
    });
    if (missing.length === 0) return;
    pending = Int32Array.from(missing).sort();
    if (plan.frames.length > 0) continue; // another replica may have the rows
    // all replicas are full, where more load does not help, or all fail at it
    if (lastError?.code === "RESOURCE_EXHAUSTED" || (lastError && isFailure(lastError))) throw lastError;
    const unroutable = whyUnroutable(routes, batch, pending, lastError);
    if (unroutable.code === "DIGEST_MISMATCH" || clock.nowMs() + pauseMs >= deadlineMs) throw unroutable;
    for (const link of routes.links) void link.refresh();
    await sleep(clock, pauseMs * (0.5 + random.next()), signal);
    pauseMs = Math.min(PAUSE_MAX_MS, pauseMs * 2);
    avoid.clear();
  }
}

/** Errors that another replica, or the same one later, may not give. */
function isRetryable({ code }: ServingError): boolean {
  switch (code) {
    case "UNAVAILABLE":
    case "DRAINING":
    case "PARTITION_NOT_OWNED":
    case "VERSION_NOT_READY":
    case "RESOURCE_EXHAUSTED":
    case "DIGEST_MISMATCH":
    case "FRAME_INVALID": // the connection was closed; a healthy replica can answer
      return true;
    default:
      return false;
  }
}

/** A shard's own failure: it may be broken, its replicas need not be. */
function isFailure({ code }: ServingError): boolean {
  return code === "INTERNAL" || code === "ENGINE_FAILED";
}

/** Sends one frame and writes its rows. Never rejects. */
async function ask(
  frame: FramePlan,
  batch: LookupBatch,
  context: FetchContext,
  options: FetchOptions,
): Promise<Outcome> {
  const { link } = frame;
  const { deadlineMs, signal } = options;
  const startMs = context.clock.nowMs();
  let reply: ReplyPayload;
  link.rowsInFlight += frame.rowCount;
  try {
    reply = await link.lookup(frame.payload, { deadlineMs, ...(signal && { signal }) });
  } catch (error) {
    const cause = ServingError.from(error);
    return { missing: frame.rows, error: cause, isRetryable: isRetryable(cause) || isFailure(cause) };
  } finally {
    link.rowsInFlight -= frame.rowCount;
    context.metrics.shardSeconds.observe((context.clock.nowMs() - startMs) / 1000);
  }
  try {
    return await writeRows(frame, readRowsReply(reply.bytes), reply.bytes, batch);
  } catch (error) {
    const cause = ServingError.from(error);
    return { missing: frame.rows, error: cause, isRetryable: isRetryable(cause) };
  } finally {
    reply.release();
  }
}

async function writeRows(frame: FramePlan, reply: RowsReply, bytes: Uint8Array, batch: LookupBatch): Promise<Outcome> {
  checkReply(frame, reply, batch);
  const missing: number[] = [];
  let error: ServingError | undefined;
  let at = 0;
  let turnBytes = 0;
  for (let k = 0; k < reply.tables.length; k++) {
    const table = reply.tables[k] as RowsTable;
    const count = frame.counts[k] as number;
    if (table.status !== TABLE_STATUS.OK) {
      error = tableError(frame, table, batch);
      if (!isRetryable(error)) throw error;
      for (let i = 0; i < count; i++) missing.push(frame.rows[at + i] as number);
      at += count;
      continue;
    }
    const section = frame.sections[k] as number;
    const rowsPerTurn = Math.max(1, Math.floor(TURN_BYTES / table.rowBytes));
    for (let done = 0; done < count; ) {
      const rowCount = Math.min(count - done, rowsPerTurn);
      batch.accept(section, bytes, table.rowOffset + done * table.rowBytes, rowCount, frame.slots, at + done);
      done += rowCount;
      turnBytes += rowCount * table.rowBytes;
      if (turnBytes < TURN_BYTES) continue;
      turnBytes = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    at += count;
  }
  return { missing: missing.length === 0 ? NOTHING : Int32Array.from(missing), error, isRetryable: true };
}

/** What a correct shard cannot get wrong. */
function checkReply(frame: FramePlan, reply: RowsReply, batch: LookupBatch): void {
  const refuse = (why: string) =>
    new ServingError("FRAME_INVALID", `shard ${frame.link.shard} sent rows that were not asked for: ${why}`);
  if (reply.epoch !== batch.epoch) {
    throw new ServingError(
      "EPOCH_MISMATCH",
      `shard ${frame.link.shard} answered at epoch ${reply.epoch}, asked was ${batch.epoch}`,
    );
  }
  if (reply.tables.length !== frame.sections.length) throw refuse(`${reply.tables.length} tables`);
  reply.tables.forEach((table, k) => {
    const section = batch.misses.sections[frame.sections[k] as number];
    if (table.table !== section?.table) throw refuse(`table ${table.table} at place ${k}`);
    if (table.status !== TABLE_STATUS.OK) return;
    if (table.rowCount !== frame.counts[k]) throw refuse(`${table.rowCount} of ${String(frame.counts[k])} rows`);
    if (table.rowBytes !== section.rowBytes) throw refuse(`rows of ${table.rowBytes} bytes`);
    if (table.defaults.length > 0) throw refuse(`${table.defaults.length} rows are defaults, which nobody allowed`);
  });
}

function tableError(frame: FramePlan, table: RowsTable, batch: LookupBatch): ServingError {
  const code = statusCode(table.status);
  const { table: index } = batch.misses.sections.find((section) => section.table === table.table) ?? table;
  const what = code === "PARTITION_NOT_OWNED" ? `partition ${table.detail}` : `table ${index}`;
  return new ServingError(code, `shard ${frame.link.shard} has no rows of ${what}`, {
    details: { shard: frame.link.shard },
  });
}

function whyUnroutable(
  { map, links }: Routes,
  batch: LookupBatch,
  pending: Int32Array,
  cause: ServingError | undefined,
): ServingError {
  const row = pending[0] as number;
  const partition = partitionOfLanes(
    batch.misses.lo[row] as number,
    batch.misses.hi[row] as number,
    map.partitionCount,
  );
  const start = partition * map.replication;
  const reasons: string[] = [];
  let isWrong = false;
  for (let i = 0; i < map.replication; i++) {
    const link = links[map.replicas[start + i] as number];
    if (link?.lastError?.code === "DIGEST_MISMATCH") isWrong = true;
    reasons.push(
      `${link?.shard ?? "?"}: ${link?.lastError?.message ?? (link?.isReady ? "does not hold it" : "not connected")}`,
    );
  }
  const text = `no replica of partition ${partition} of ${map.model}/${map.version} can be asked (${reasons.join("; ")})`;
  return new ServingError(isWrong ? "DIGEST_MISMATCH" : "UNAVAILABLE", text, { details: { partition }, cause });
}

function expired({ servable }: FetchContext, cause: ServingError | undefined): ServingError {
  const why = cause ? `; the last failure was: ${cause.message}` : "";
  return new ServingError("DEADLINE_EXCEEDED", `rows of ${servable} were not fetched in time${why}`, { cause });
}
