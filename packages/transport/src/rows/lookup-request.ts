import type { TraceParent } from "@shardserve/core";
import { payloadInvalid, readU64, writeU64 } from "../frame/payload-words.js";
import { readTrace, TRACE_BYTES, writeTrace } from "./trace-bytes.js";

/**
 * Payload of LOOKUP (docs/formats.md, "Frames"). Little-endian; offsets are from the payload's start.
 *
 * ```
 * 0 u32 channel   4 u32 remainingMs (0 = no deadline)   8 u64 generation   16 u64 epoch   24 u32 tableCount   28 u32 traceBytes
 * 32 per table: u32 table, u32 idCount
 * then the ids of every table, i64, table after table (8-aligned)
 * then the trace of a sampled request (trace-bytes.ts): traceBytes, 0 or 24
 * ```
 */
const HEAD_BYTES = 32;
const TABLE_BYTES = 8;
/** Where the tables begin, in 32-bit words. */
const COLUMNS_AT = HEAD_BYTES / 4;

/** A frame names at most this many tables. */
export const LOOKUP_TABLES_MAX = 4096;

/** What a LOOKUP says beside its tables and ids. */
export interface LookupHeader {
  readonly channel: number;
  /** What is left of the deadline, in whole milliseconds, at least 1; 0 = no deadline. */
  readonly remainingMs: number;
  /** Partition map that the caller routed by; for logs and metrics, the shard answers by what it holds. */
  readonly generation: number;
  readonly epoch: number;
  /** The caller's span, where the request is traced; only for a server that says in WELCOME that it takes it. */
  readonly trace?: TraceParent | undefined;
}

/** Bytes of a LOOKUP payload without a trace. */
export function lookupRequestBytes(tableCount: number, idCount: number): number {
  return HEAD_BYTES + tableCount * TABLE_BYTES + idCount * 8;
}

/**
 * Lays out a LOOKUP payload, to be filled in place.
 *
 * @param tables    table index per column
 * @param idCounts  ids per column
 * @param allocate  memory for the payload, 8-aligned; default Node's own
 * @returns `words`: the payload as 32-bit words, of which the caller writes the ids: all columns behind one another as
 *   lanes (lo, hi), from `idsAt` on
 */
export function createLookupRequest(
  header: LookupHeader,
  tables: readonly number[],
  idCounts: readonly number[],
  allocate: (bytes: number) => Uint8Array = (bytes) => Buffer.allocUnsafe(bytes),
): { payload: Uint8Array; words: Int32Array; idsAt: number } {
  let idCount = 0;
  for (const count of idCounts) idCount += count;
  const { trace } = header;
  const traceAt = lookupRequestBytes(tables.length, idCount) / 4;
  const bytes = traceAt * 4 + (trace ? TRACE_BYTES : 0);
  const payload = allocate(bytes);
  const words = new Int32Array(payload.buffer, payload.byteOffset, bytes / 4);
  words[0] = header.channel;
  words[1] = Math.min(header.remainingMs, 0xffff_ffff);
  writeU64(words, 2, header.generation);
  writeU64(words, 4, header.epoch);
  words[6] = tables.length;
  words[7] = trace ? TRACE_BYTES : 0;
  if (trace) writeTrace(words, traceAt, trace);
  let at = COLUMNS_AT;
  for (let i = 0; i < tables.length; i++) {
    words[at++] = tables[i]!;
    words[at++] = idCounts[i]!;
  }
  return { payload, words, idsAt: at };
}

/** A LOOKUP payload taken apart. Nothing is copied, and nothing made per table. */
export class LookupRequest implements LookupHeader {
  readonly channel: number;
  readonly remainingMs: number;
  readonly generation: number;
  readonly epoch: number;
  readonly tableCount: number;
  /** Ids of all columns. */
  readonly idCount: number;
  /** The payload as 32-bit words. */
  readonly words: Int32Array;
  /** Where the columns begin in `words`: table index and id count of each, below 2^31. */
  readonly columnsAt = COLUMNS_AT;
  /** Where the ids begin in `words`: those of all columns behind one another, as lanes (lo, hi). */
  readonly idsAt: number;

  /** @internal checked by {@link readLookupRequest} */
  constructor(words: Int32Array, tableCount: number, idCount: number) {
    const what = "a lookup frame";
    this.channel = words[0]! >>> 0;
    this.remainingMs = words[1]! >>> 0;
    this.generation = readU64(words, 2, what);
    this.epoch = readU64(words, 4, what);
    this.tableCount = tableCount;
    this.idCount = idCount;
    this.words = words;
    this.idsAt = COLUMNS_AT + 2 * tableCount;
  }

  /** Per column: table index and id count, interleaved. */
  get columns(): Uint32Array {
    const { buffer, byteOffset } = this.words;
    return new Uint32Array(buffer, byteOffset + COLUMNS_AT * 4, this.tableCount * 2);
  }

  /** The caller's span; undefined = this request is not traced. Made at each call. */
  get trace(): TraceParent | undefined {
    return this.words[7] === 0 ? undefined : readTrace(this.words, this.idsAt + 2 * this.idCount);
  }

  /** All ids of all columns behind one another. */
  get ids(): BigInt64Array {
    const { buffer, byteOffset } = this.words;
    return new BigInt64Array(buffer, byteOffset + this.idsAt * 4, this.idCount);
  }
}

/**
 * Takes a LOOKUP payload apart after checking every count against the bytes that are there.
 *
 * @param payload  8-aligned
 * @throws ServingError FRAME_INVALID
 */
export function readLookupRequest(payload: Uint8Array): LookupRequest {
  const what = "a lookup frame";
  if (payload.length < HEAD_BYTES) throw payloadInvalid(what, `it has only ${payload.length} bytes`);
  const words = new Int32Array(payload.buffer, payload.byteOffset, payload.length >> 2);
  const tableCount = words[6]! >>> 0;
  if (tableCount > LOOKUP_TABLES_MAX)
    throw payloadInvalid(what, `it names ${tableCount} tables, the limit is ${LOOKUP_TABLES_MAX}`);
  const idOffset = lookupRequestBytes(tableCount, 0);
  if (payload.length < idOffset)
    throw payloadInvalid(what, `${tableCount} tables do not fit into ${payload.length} bytes`);
  let idCount = 0;
  for (let i = 0; i < tableCount; i++) idCount += words[COLUMNS_AT + 2 * i + 1]! >>> 0;
  const traceBytes = words[7]! >>> 0;
  if (traceBytes !== 0 && traceBytes !== TRACE_BYTES)
    throw payloadInvalid(what, `it has a trace of ${traceBytes} bytes`);
  const there = (payload.length - idOffset - traceBytes) / 8;
  if (idCount !== there) throw payloadInvalid(what, `it announces ${idCount} ids, ${there} are there`);
  return new LookupRequest(words, tableCount, idCount);
}
