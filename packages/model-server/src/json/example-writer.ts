import type { StringColumnBuilder } from "@shardserve/tensor";
import { varintBytes, writeBytes, writeVarint } from "../predict/wire.js";

/** Field numbers of tf.Feature's kinds. */
const KINDS = { bytes: 1, float: 2, int64: 3 } as const;
export type FeatureKind = keyof typeof KINDS;

/** Tags of length-delimited fields by number. */
const FIELD_1 = 0x0a;
const FIELD_2 = 0x12;
const tagOf = (field: number): number => (field << 3) | 2;

/** A tag and a length. */
const HEADER_BYTES_MAX = 6;
/** Growth below this is not counted. */
const UNCOUNTED_BYTES = 64 * 1024;

/** A buffer that grows, and counts what it takes. */
class GrowingBytes {
  bytes: Buffer = Buffer.allocUnsafe(256);
  length = 0;
  readonly #hold: (bytes: number) => void;

  constructor(hold: (bytes: number) => void) {
    this.#hold = hold;
  }

  /** Makes room for as many bytes more. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const size = Math.max(needed, this.bytes.length * 2);
    if (size > UNCOUNTED_BYTES) this.#hold(size - this.bytes.length);
    const larger = Buffer.allocUnsafe(size);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
}

/** Writes serialised tf.Examples value by value: no object is made per value, however many a feature has. */
export class ExampleWriter {
  readonly #values: GrowingBytes;
  /** Behind room for the header of Example.features. */
  readonly #features: GrowingBytes;

  /** @param hold  counts bytes that are taken; throws when they are too many */
  constructor(hold: (bytes: number) => void) {
    this.#values = new GrowingBytes(hold);
    this.#features = new GrowingBytes(hold);
    this.#features.length = HEADER_BYTES_MAX;
  }

  addBytes(value: Uint8Array): void {
    const values = this.#values;
    values.reserve(HEADER_BYTES_MAX + value.length);
    values.length = writeBytes(values.bytes, values.length, FIELD_1, value);
  }

  addFloat(value: number): void {
    const values = this.#values;
    values.reserve(4);
    values.length = values.bytes.writeFloatLE(value, values.length);
  }

  /** @param low, high  unsigned 32-bit lanes of the magnitude */
  addInt64(low: number, high: number, isNegative: boolean): void {
    const values = this.#values;
    values.reserve(10);
    if (isNegative) {
      high = (low === 0 ? -high : ~high) >>> 0; // two's complement of the pair: a borrow unless the low lane is zero
      low = -low >>> 0;
    }
    let at = values.length;
    while (high > 0 || low >= 0x80) {
      values.bytes[at++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    values.bytes[at++] = low;
    values.length = at;
  }

  /** Ends the feature whose values were added; without a kind it has none. */
  endFeature(name: Uint8Array, kind: FeatureKind | undefined): void {
    const { bytes, length } = this.#values;
    const isPacked = kind === "float" || kind === "int64";
    const listBytes = isPacked ? 1 + varintBytes(length) + length : length;
    const featureBytes = kind === undefined ? 0 : 1 + varintBytes(listBytes) + listBytes;
    const entryBytes = 2 + varintBytes(name.length) + name.length + varintBytes(featureBytes) + featureBytes;
    const features = this.#features;
    features.reserve(HEADER_BYTES_MAX + entryBytes);
    const out = features.bytes;
    out[features.length] = FIELD_1;
    let at = writeVarint(out, features.length + 1, entryBytes);
    at = writeBytes(out, at, FIELD_1, name);
    out[at] = FIELD_2;
    at = writeVarint(out, at + 1, featureBytes);
    if (kind !== undefined) {
      out[at] = tagOf(KINDS[kind]);
      at = writeVarint(out, at + 1, listBytes);
      if (isPacked) out[at] = FIELD_1;
      if (isPacked) at = writeVarint(out, at + 1, length);
      out.set(bytes.subarray(0, length), at);
      at += length;
    }
    features.length = at;
    this.#values.length = 0;
  }

  /** Ends the example whose features were ended, and appends it. */
  endExample(column: StringColumnBuilder): void {
    const { bytes, length } = this.#features;
    const featuresBytes = length - HEADER_BYTES_MAX;
    const start = HEADER_BYTES_MAX - 1 - varintBytes(featuresBytes);
    bytes[start] = FIELD_1;
    writeVarint(bytes, start + 1, featuresBytes);
    column.pushRange(bytes, start, length);
    this.#features.length = HEADER_BYTES_MAX;
  }
}
