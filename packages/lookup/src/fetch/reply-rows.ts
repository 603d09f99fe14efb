import { ServingError } from "@shardserve/core";
import { StoredRows } from "@shardserve/rowstore";
import { type RowsReply, statusCode, TABLE_STATUS } from "@shardserve/transport";
import type { LookupBatch } from "../batch/batch.js";
import type { FramePlan } from "./frame-plan.js";
import type { LookupTrace, RowGiver } from "../report/lookup-trace.js";

/** Rows written in one go before other work gets a turn: 8 MiB take about 5 ms. */
const TURN_BYTES = 8 * 2 ** 20;

/** Which rows of a batch's miss columns are there. */
export class RowsDone {
  readonly #isDone: Uint8Array;
  readonly #trace: LookupTrace | undefined;
  #leftCount: number;
  /** True once a row may come from two shards: only then is looked for rows that are there already. */
  isContested = false;

  constructor(count: number, trace?: LookupTrace) {
    this.#trace = trace;
    this.#isDone = new Uint8Array(count);
    this.#leftCount = count;
  }

  get leftCount(): number {
    return this.#leftCount;
  }

  has(row: number): boolean {
    return this.#isDone[row] === 1;
  }

  /** Marks rows[start, end), none of which is done. */
  add(rows: Int32Array, start: number, end: number, giver: RowGiver): void {
    this.#trace?.given(rows, start, end, giver);
    for (let i = start; i < end; i++) this.#isDone[rows[i]!] = 1;
    this.#leftCount -= end - start;
  }

  /** @returns rows of a frame that are not there */
  missing(rows: Int32Array): number[] {
    const missing: number[] = [];
    for (let i = 0; i < rows.length; i++) if (!this.has(rows[i]!)) missing.push(rows[i]!);
    return missing;
  }
}

/**
 * Writes the rows of a reply that are not there yet. Large replies take several turns of the event loop.
 *
 * @param isOver  true once nobody wants the rows any more: the rest is not written
 * @returns what the shard said of tables whose rows it does not have; undefined = all rows were there
 * @throws ServingError FRAME_INVALID, EPOCH_MISMATCH before anything is written; what no other replica can mend
 */
export async function writeReply(
  frame: FramePlan,
  reply: RowsReply,
  bytes: Uint8Array,
  batch: LookupBatch,
  done: RowsDone,
  isOver: () => boolean,
): Promise<ServingError | undefined> {
  checkReply(frame, reply, batch);
  const stored = new StoredRows(bytes);
  const giver: RowGiver = { level: "shard", epoch: batch.epoch, shard: frame.link.shard };
  let error: ServingError | undefined;
  let at = 0;
  let turnBytes = 0;
  for (let k = 0; k < reply.tableCount; k++) {
    const count = frame.counts[k]!;
    if (reply.status(k) !== TABLE_STATUS.OK) {
      error = tableError(frame, reply, k);
      at += count;
      continue;
    }
    const section = frame.sections[k]!;
    const rowBytes = reply.rowBytes(k);
    const rowOffset = reply.rowOffset(k);
    const rowsPerTurn = Math.max(1, Math.floor(TURN_BYTES / rowBytes));
    for (let from = 0; from < count; ) {
      const to = runEnd(frame, done, at, from, Math.min(count, from + rowsPerTurn));
      if (to > from) {
        batch.accept(section, stored, rowOffset + from * rowBytes, to - from, frame.slots, at + from);
        done.add(frame.rows, at + from, at + to, giver);
        turnBytes += (to - from) * rowBytes;
      }
      from = Math.max(to, from + 1);
      if (turnBytes < TURN_BYTES) continue;
      turnBytes = 0;
      await new Promise((resolve) => setImmediate(resolve));
      if (isOver()) return undefined;
    }
    at += count;
  }
  return error;
}

/** End of the rows from `from` on that are all missing; `from` itself when that row is there. */
function runEnd(frame: FramePlan, done: RowsDone, at: number, from: number, end: number): number {
  if (!done.isContested) return end;
  let to = from;
  while (to < end && !done.has(frame.rows[at + to]!)) to++;
  return to;
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
  if (reply.tableCount !== frame.sections.length) throw refuse(`${reply.tableCount} tables`);
  for (let k = 0; k < reply.tableCount; k++) {
    const section = batch.misses.sections[frame.sections[k] as number]!;
    if (reply.table(k) !== section.table) throw refuse(`table ${reply.table(k)} at place ${k}`);
    if (reply.status(k) !== TABLE_STATUS.OK) continue;
    if (reply.rowCount(k) !== frame.counts[k]) throw refuse(`${reply.rowCount(k)} of ${String(frame.counts[k])} rows`);
    if (reply.rowBytes(k) !== section.rowBytes) throw refuse(`rows of ${reply.rowBytes(k)} bytes`);
    const defaultCount = reply.defaultCount(k);
    if (defaultCount > 0) throw refuse(`${defaultCount} rows are defaults, which nobody allowed`);
  }
}

function tableError(frame: FramePlan, reply: RowsReply, k: number): ServingError {
  const code = statusCode(reply.status(k));
  const what = code === "PARTITION_NOT_OWNED" ? `partition ${reply.detail(k)}` : `table ${reply.table(k)}`;
  return new ServingError(code, `shard ${frame.link.shard} has no rows of ${what}`, {
    details: { shard: frame.link.shard },
  });
}
