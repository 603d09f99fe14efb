import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** Keys of one bucket lie in one slot of a Redis Cluster, so that one MGET can ask for them. */
export const BUCKET_COUNT = 64;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** Value: kind, CRC-32 of key and row, row. */
const HEAD_BYTES = 5;
const KIND_ROW = 1;

/** Whose rows: a key of other rows, or of the same row at another epoch, is another key. */
export interface RowSpace {
  readonly cluster: string;
  readonly model: string;
  readonly version: number;
  /** Digest of the version's manifest: the same version number exported anew is something else. */
  readonly manifestDigest: string;
}

/** Which bucket an id's key belongs to. */
export function bucketOf(lo: number, hi: number): number {
  return (lo ^ hi ^ (lo >>> 16)) & (BUCKET_COUNT - 1);
}

/**
 * Makes the keys of one space and epoch (docs/formats.md, "Rows in Redis"): `{DIGEST BUCKET}` in ASCII, which is the hash tag
 * of a cluster, then epoch, table and id as little-endian base-128 numbers.
 */
export class RowKeys {
  readonly #heads: readonly Buffer[];

  /** @param epochDigest  of the delta's manifest: two deltas may have had one number; "" at epoch 0 */
  constructor(space: RowSpace, epoch: number, epochDigest: string) {
    const { cluster, model, version, manifestDigest } = space;
    const digest = createHash("sha256")
      .update(JSON.stringify([cluster, model, version, manifestDigest, epochDigest]))
      .digest("base64url")
      .slice(0, 12);
    const tail = Buffer.alloc(8);
    const epochBytes = writeNumber(tail, 0, epoch);
    this.#heads = Array.from({ length: BUCKET_COUNT }, (_, bucket) =>
      Buffer.concat([Buffer.from(`{${digest}${DIGITS[bucket]}}`, "latin1"), tail.subarray(0, epochBytes)]),
    );
  }

  /** Most bytes of one key. */
  get bytesMax(): number {
    return this.#heads[0]!.length + 5 + 8;
  }

  /** Writes a key at `target[at]`. @returns its end */
  write(target: Buffer, at: number, table: number, lo: number, hi: number): number {
    const head = this.#heads[bucketOf(lo, hi)]!;
    head.copy(target, at);
    const end = writeNumber(target, at + head.length, table);
    return writeNumber(target, end, hi * 2 ** 32 + (lo >>> 0));
  }
}

/** @returns the end of the number */
function writeNumber(target: Buffer, at: number, value: number): number {
  let rest = value;
  let end = at;
  for (; rest >= 128; rest = Math.floor(rest / 128)) target[end++] = (rest % 128) | 128;
  target[end++] = rest;
  return end;
}

/** Bytes of the value of a row. */
export function valueBytes(rowBytes: number): number {
  return HEAD_BYTES + rowBytes;
}

/** Writes the value of a stored row at `target[at]`. */
export function writeValue(target: Buffer, at: number, key: Buffer, row: Uint8Array): void {
  target[at] = KIND_ROW;
  target.writeUInt32LE(crc32(row, crc32(key)), at + 1);
  target.set(row, at + HEAD_BYTES);
}

/**
 * The stored row in a value.
 *
 * @returns undefined when the value is not that of this key and width, whole: damaged, of another kind, or of another program
 */
export function readValue(value: Buffer, key: Buffer, rowBytes: number): Uint8Array | undefined {
  if (value.length !== HEAD_BYTES + rowBytes || value[0] !== KIND_ROW) return undefined;
  const row = value.subarray(HEAD_BYTES);
  return value.readUInt32LE(1) === crc32(row, crc32(key)) ? row : undefined;
}
