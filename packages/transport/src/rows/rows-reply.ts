import { LOOKUP_TABLES_MAX } from "./lookup-request.js";
import { REPLY_HEAD_BYTES, REPLY_TABLE_BYTES } from "./rows-layout.js";
import { TABLE_STATUS, TABLE_STATUS_COUNT } from "./table-status.js";
import { payloadInvalid, readU64 } from "../frame/payload-words.js";

const WHAT = "a rows frame";
const HEAD_WORDS = REPLY_HEAD_BYTES / 4;
const TABLE_WORDS = REPLY_TABLE_BYTES / 4;

/** Words of a table's entry. */
const TABLE = 0;
const STATUS = 1;
const ROW_COUNT = 2;
const ROW_BYTES = 3;
const ROW_OFFSET = 4;
const DEFAULT_OFFSET = 5;
const DEFAULT_COUNT = 6;
const DETAIL = 7;

/**
 * The head of a ROWS payload; rows stay where they are. It reads the payload each time it is asked: an object per table
 * cost the client of small lookups more than anything else it did.
 */
export class RowsReply {
  readonly generation: number;
  readonly epoch: number;
  readonly tableCount: number;
  readonly #words: Int32Array;

  /** @internal checked by {@link readRowsReply} */
  constructor(words: Int32Array, tableCount: number) {
    this.generation = readU64(words, 0, WHAT);
    this.epoch = readU64(words, 2, WHAT);
    this.tableCount = tableCount;
    this.#words = words;
  }

  /** Index of the k-th table. */
  table(k: number): number {
    return this.#word(k, TABLE);
  }

  /** One of {@link TABLE_STATUS}; rows are there only when OK. */
  status(k: number): number {
    return this.#word(k, STATUS);
  }

  rowCount(k: number): number {
    return this.#word(k, ROW_COUNT);
  }

  rowBytes(k: number): number {
    return this.#word(k, ROW_BYTES);
  }

  /** Offset of the first row in the payload. */
  rowOffset(k: number): number {
    return this.#word(k, ROW_OFFSET);
  }

  /** Rows that are defaults; usually none. */
  defaultCount(k: number): number {
    return this.#word(k, DEFAULT_COUNT);
  }

  /** Positions of the defaults within the table's rows. */
  defaults(k: number): Uint32Array {
    const { buffer, byteOffset } = this.#words;
    return new Uint32Array(buffer, byteOffset + this.#word(k, DEFAULT_OFFSET), this.defaultCount(k));
  }

  detail(k: number): number {
    return this.#word(k, DETAIL);
  }

  /** @internal @throws ServingError FRAME_INVALID when an entry points outside `payloadBytes` */
  check(payloadBytes: number): void {
    for (let k = 0; k < this.tableCount; k++) {
      const status = this.status(k);
      const rowCount = this.rowCount(k);
      const rowOffset = this.rowOffset(k);
      const defaultOffset = this.#word(k, DEFAULT_OFFSET);
      const defaultCount = this.defaultCount(k);
      if (status >= TABLE_STATUS_COUNT) throw payloadInvalid(WHAT, `${status} is no table status`);
      if (rowOffset + rowCount * this.rowBytes(k) > payloadBytes)
        throw payloadInvalid(WHAT, "rows reach beyond its end");
      if (defaultCount > rowCount || defaultOffset + defaultCount * 4 > payloadBytes || defaultOffset % 4 !== 0) {
        throw payloadInvalid(WHAT, "its list of default rows is impossible");
      }
      if (rowCount > 0 && (status !== TABLE_STATUS.OK || rowOffset < REPLY_HEAD_BYTES)) {
        throw payloadInvalid(WHAT, "rows lie where none can be");
      }
      if (defaultCount > 0 && this.defaults(k).some((position) => position >= rowCount)) {
        throw payloadInvalid(WHAT, "a default row lies beyond the last row");
      }
    }
  }

  #word(k: number, word: number): number {
    return this.#words[HEAD_WORDS + k * TABLE_WORDS + word]! >>> 0;
  }
}

/**
 * Reads the head of a ROWS payload; every offset and count is checked against the payload.
 *
 * @param payload  8-aligned
 * @throws ServingError FRAME_INVALID
 */
export function readRowsReply(payload: Uint8Array): RowsReply {
  if (payload.length < REPLY_HEAD_BYTES) throw payloadInvalid(WHAT, `it has only ${payload.length} bytes`);
  const words = new Int32Array(payload.buffer, payload.byteOffset, payload.length >> 2);
  const tableCount = words[4]! >>> 0;
  if (tableCount > LOOKUP_TABLES_MAX)
    throw payloadInvalid(WHAT, `it names ${tableCount} tables, the limit is ${LOOKUP_TABLES_MAX}`);
  if (payload.length < REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES) {
    throw payloadInvalid(WHAT, `${tableCount} tables do not fit into ${payload.length} bytes`);
  }
  const reply = new RowsReply(words, tableCount);
  reply.check(payload.length);
  return reply;
}
