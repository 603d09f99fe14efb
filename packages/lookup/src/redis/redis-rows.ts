import { StoredRows } from "@shardserve/rowstore";
import type { ReplyPayload, RowsReply } from "@shardserve/transport";
import type { LookupBatch } from "../batch/batch.js";
import type { FramePlan, Misses } from "../fetch/frame-plan.js";
import type { RowsDone } from "../fetch/reply-rows.js";
import type { RedisLevel } from "./redis-level.js";
import {
  BUCKET_COUNT,
  bucketOf,
  readValue,
  RowKeys,
  type RowSpace,
  valueBytes,
  writeValue,
} from "./redis-rows-format.js";

/** Replies that wait to be written, in bytes; more are not written. */
const QUEUE_BYTES_MAX = 32 * 2 ** 20;
/** Rows written in one turn of the event loop: about 0.2 ms. */
const ROWS_PER_TURN = 64;

/** Epochs whose keys are remembered: those that requests are still answered at, and those that stale rows may come from. */
const EPOCHS_MAX = 8;

/** Rows that came from shards and go to Redis when there is time. */
interface Writing {
  readonly frame: FramePlan;
  readonly reply: ReplyPayload;
  readonly rows: RowsReply;
  readonly misses: Misses;
  readonly keys: RowKeys;
  table: number;
  /** Row within the table, and within the frame. */
  row: number;
  frameRow: number;
}

/**
 * Rows of one version in the Redis that executors share. Reads keep to the level's budget; writes happen behind the lookups,
 * a few rows a turn, and are dropped rather than queued without end.
 */
export class RedisRows {
  readonly #level: RedisLevel;
  readonly #space: RowSpace;
  /** Keys of the epochs that are known by digest; rows of others are neither read nor written. */
  readonly #keys = new Map<number, RowKeys>();
  readonly #queue: Writing[] = [];
  #queueBytes = 0;
  #isDraining = false;
  #isClosed = false;

  constructor(level: RedisLevel, space: RowSpace) {
    this.#level = level;
    this.#space = space;
    this.#keys.set(0, new RowKeys(space, 0, ""));
  }

  /** From now on rows of this epoch are read and written; a number that another delta had before is that delta's no more. */
  nameEpoch(epoch: number, digest: string): void {
    if (epoch === 0) return;
    this.#keys.delete(epoch);
    this.#keys.set(epoch, new RowKeys(this.#space, epoch, digest));
    for (const known of this.#keys.keys()) if (this.#keys.size > EPOCHS_MAX && known !== 0) this.#keys.delete(known);
  }

  /**
   * Fetches what Redis has of some rows of a batch and writes them. Never rejects.
   *
   * @param pending  positions in the miss columns, ascending
   * @param epoch    an older one than the batch's = its rows count as stale
   */
  async read(
    batch: LookupBatch,
    pending: Int32Array,
    done: RowsDone,
    isOver: () => boolean,
    epoch = batch.epoch,
  ): Promise<void> {
    const { misses } = batch;
    const rowKeys = this.#keys.get(epoch);
    if (!rowKeys) return;
    const origin = epoch === batch.epoch ? "redis" : "stale";
    const keys = this.#encodeKeys(misses, pending, rowKeys);
    const values = await this.#level.read(keys, this.#group(misses, pending));
    if (isOver()) return;
    let section = 0;
    for (let i = 0; i < pending.length; ) {
      while (pending[i]! >= (misses.sections[section]?.end ?? 0)) section++;
      const { end, rowBytes } = misses.sections[section] as Misses["sections"][number];
      const start = i;
      while (i < pending.length && pending[i]! < end) i++;
      this.#accept(
        batch,
        section,
        rowBytes,
        pending.subarray(start, i),
        keys.slice(start, i),
        values.slice(start, i),
        done,
        { level: origin, epoch },
      );
    }
  }

  /** Takes over a shard's reply to write its rows; false = it does not want it, the caller releases it. */
  offer(frame: FramePlan, reply: ReplyPayload, rows: RowsReply, batch: LookupBatch): boolean {
    const keys = this.#keys.get(batch.epoch);
    if (!keys || this.#isClosed || this.#level.isOff) return false;
    if (this.#queueBytes + reply.bytes.length > QUEUE_BYTES_MAX) {
      this.#level.metrics.redisWrites.inc({ outcome: "dropped" }, frame.rowCount);
      return false;
    }
    this.#queue.push({ frame, reply, rows, misses: batch.misses, keys, table: 0, row: 0, frameRow: 0 });
    this.#queueBytes += reply.bytes.length;
    if (!this.#isDraining) this.#drain();
    return true;
  }

  /** Drops what waits to be written. */
  close(): void {
    this.#isClosed = true;
    this.#dropAll();
  }

  #accept(
    batch: LookupBatch,
    section: number,
    rowBytes: number,
    rows: Int32Array,
    keys: readonly Buffer[],
    values: readonly (Buffer | null)[],
    done: RowsDone,
    giver: { readonly level: "redis" | "stale"; readonly epoch: number },
  ): void {
    const found = new Int32Array(rows.length);
    const slots = new Int32Array(rows.length);
    const bytes = Buffer.allocUnsafeSlow(rows.length * rowBytes);
    let count = 0;
    let damaged = 0;
    for (let i = 0; i < rows.length; i++) {
      const value = values[i];
      if (!value) continue;
      const row = readValue(value, keys[i]!, rowBytes);
      if (!row) {
        damaged++;
        continue;
      }
      bytes.set(row, count * rowBytes);
      found[count] = rows[i]!;
      slots[count] = batch.misses.slots[rows[i] as number]!;
      count++;
    }
    const { redisRows } = this.#level.metrics;
    redisRows.inc({ outcome: "hit" }, count);
    redisRows.inc({ outcome: "miss" }, rows.length - count - damaged);
    if (damaged > 0) redisRows.inc({ outcome: "damaged" }, damaged);
    if (count === 0) return;
    batch.accept(section, new StoredRows(bytes), 0, count, slots, 0);
    batch.origins.add(giver.level, section, slots.subarray(0, count));
    done.add(found, 0, count, giver);
  }

  #encodeKeys({ lo, hi, sections }: Misses, pending: Int32Array, rowKeys: RowKeys): Buffer[] {
    const all = Buffer.allocUnsafe(pending.length * rowKeys.bytesMax);
    const keys: Buffer[] = [];
    let section = 0;
    let at = 0;
    for (const row of pending) {
      while (row >= (sections[section]?.end ?? 0)) section++;
      const end = rowKeys.write(all, at, sections[section]?.table ?? 0, lo[row]!, hi[row]!);
      keys.push(all.subarray(at, end));
      at = end;
    }
    return keys;
  }

  #group({ lo, hi }: Misses, pending: Int32Array): number[][] {
    if (!this.#level.isCluster) return [Array.from(pending, (_, i) => i)];
    const groups = Array.from({ length: BUCKET_COUNT }, (): number[] => []);
    pending.forEach((row, i) => groups[bucketOf(lo[row]!, hi[row]!)]?.push(i));
    return groups.filter((group) => group.length > 0);
  }

  #drain(): void {
    this.#isDraining = false;
    if (this.#level.isOff) this.#dropAll();
    const writing = this.#queue[0];
    if (!writing) return;
    this.#isDraining = true;
    if (!this.#level.canWrite) return void this.#level.clock.after(5, () => this.#drain());
    const pairs = takePairs(writing);
    if (pairs.length > 0) {
      void this.#level.write(pairs).then((isStored) => {
        this.#level.metrics.redisWrites.inc({ outcome: isStored ? "written" : "failed" }, pairs.length);
      });
    } else {
      this.#queue.shift();
      this.#queueBytes -= writing.reply.bytes.length;
      writing.reply.release();
    }
    setImmediate(() => this.#drain());
  }

  #dropAll(): void {
    for (const { frame, frameRow, reply } of this.#queue.splice(0)) {
      this.#level.metrics.redisWrites.inc({ outcome: "dropped" }, frame.rowCount - frameRow);
      reply.release();
    }
    this.#queueBytes = 0;
  }
}

/** Keys and values of the next rows; none = all are taken. */
function takePairs(writing: Writing): { key: Buffer; value: Buffer }[] {
  const { frame, rows, reply, misses, keys } = writing;
  const pairs: { key: Buffer; value: Buffer }[] = [];
  while (pairs.length < ROWS_PER_TURN && writing.table < rows.tableCount) {
    const { table: column } = writing;
    const count = frame.counts[column]!;
    const rowBytes = rows.rowBytes(column);
    if (writing.row >= rows.rowCount(column)) {
      writing.frameRow += count - writing.row;
      writing.table++;
      writing.row = 0;
      continue;
    }
    const at = frame.rows[writing.frameRow]!;
    const key = Buffer.allocUnsafe(keys.bytesMax);
    const end = keys.write(key, 0, rows.table(column), misses.lo[at]!, misses.hi[at]!);
    const offset = rows.rowOffset(column) + writing.row * rowBytes;
    const value = Buffer.allocUnsafe(valueBytes(rowBytes));
    writeValue(value, 0, key.subarray(0, end), reply.bytes.subarray(offset, offset + rowBytes));
    pairs.push({ key: key.subarray(0, end), value });
    writing.row++;
    writing.frameRow++;
  }
  return pairs;
}
