import { ServingError } from "@shardserve/core";
import {
  type DType,
  elementCount,
  lanesOf,
  newData,
  StringColumnBuilder,
  type Tensor,
  tensor,
  tfDTypeString,
} from "@shardserve/tensor";
import { base64Text, type Cursor, kindAt, skipValue } from "./cursor.js";
import { describeValue } from "./describe.js";
import { grownCapacity, type JsonDocument, skipScalar, skipString } from "./document.js";
import { NumberReader } from "./number.js";
import { decodeBase64, stringBytes } from "./string.js";

/** Element types that JSON can be converted to; the others are UNIMPLEMENTED, as in TensorFlow Serving. */
const WRITERS: Partial<Record<DType, (builder: TensorBuilder, cursor: Cursor) => boolean>> = {
  float32: (builder, cursor) => builder.pushFloat(cursor, true),
  float64: (builder, cursor) => builder.pushFloat(cursor, false),
  int32: (builder, cursor) => builder.pushInt32(cursor),
  int16: (builder, cursor) => builder.pushInt32(cursor),
  int8: (builder, cursor) => builder.pushInt32(cursor),
  uint8: (builder, cursor) => builder.pushInt32(cursor),
  uint32: (builder, cursor) => builder.pushUint32(cursor),
  int64: (builder, cursor) => builder.pushInt64(cursor, true),
  uint64: (builder, cursor) => builder.pushInt64(cursor, false),
  bool: (builder, cursor) => builder.pushBool(cursor),
  string: (builder, cursor) => builder.pushString(cursor),
};

/** Of a string in a column: where it begins. */
const STRING_BYTES = 4;

const NO_NUMBERS = new Int32Array();

/** More elements than this are not reserved ahead: a shape is only a promise until its elements are there. */
const RESERVED_ELEMENTS_MAX = 64 * 1024;

/** Collects the elements of one tensor out of JSON values. */
export class TensorBuilder {
  readonly dtype: DType;
  readonly #document: JsonDocument;
  readonly #write: ((builder: TensorBuilder, cursor: Cursor) => boolean) | undefined;
  readonly #reader = new NumberReader();
  readonly #strings: StringColumnBuilder | null;
  readonly #is64Bit: boolean;
  #numbers: Float64Array | Int32Array;
  #lanes: Int32Array;
  #capacity: number;
  #count = 0;

  constructor(document: JsonDocument, dtype: DType, expectedCount: number) {
    this.dtype = dtype;
    this.#document = document;
    this.#write = WRITERS[dtype];
    this.#is64Bit = dtype === "int64" || dtype === "uint64";
    this.#capacity = Math.max(1, Math.min(expectedCount, RESERVED_ELEMENTS_MAX));
    this.#strings = dtype === "string" ? new StringColumnBuilder(this.#capacity) : null;
    this.#numbers = NO_NUMBERS;
    this.#lanes = NO_NUMBERS;
    if (this.#write && !this.#strings) this.#reserve(this.#capacity);
  }

  get count(): number {
    return this.#count;
  }

  /**
   * Appends the scalar (or `{"b64": ...}`) under the cursor and moves behind it.
   *
   * @throws ServingError INVALID_ARGUMENT or UNIMPLEMENTED with TensorFlow Serving's texts
   */
  push(cursor: Cursor): void {
    if (this.#count === this.#capacity) this.#grow(cursor.offset);
    if (this.#write?.(this, cursor)) {
      this.#count++;
      return;
    }
    const value = describeValue(this.#document, cursor);
    const target = tfDTypeString(this.dtype);
    const kind = kindAt(this.#document, cursor.offset);
    if (!this.#write && kind !== "Object") {
      throw new ServingError("UNIMPLEMENTED", `Conversion of JSON Value: ${value} to type: ${target}`);
    }
    throw new ServingError(
      "INVALID_ARGUMENT",
      this.dtype === "string" && kind === "Object"
        ? `JSON Value: ${value} not formatted correctly for base64 data`
        : `JSON Value: ${value} Type: ${kind} is not of expected type: ${target}`,
    );
  }

  /** The tensor of all elements pushed so far; `shape` has as many. */
  build(shape: readonly number[]): Tensor {
    if (this.#strings) return tensor("string", shape, this.#strings.build());
    const count = elementCount(shape);
    const data = this.#numbers.length === count ? this.#numbers : this.#numbers.subarray(0, count);
    return tensor(this.dtype as "float64", shape, data as Float64Array);
  }

  /** String columns grow by themselves; what they take is counted all the same. @param offset  of the next element */
  #grow(offset: number): void {
    const capacity = grownCapacity(this.#capacity, this.#document.bytes.length - offset);
    const elementBytes = this.#strings ? STRING_BYTES : this.#numbers.BYTES_PER_ELEMENT;
    this.#document.hold((capacity - this.#capacity) * elementBytes);
    if (this.#strings) this.#capacity = capacity;
    else this.#reserve(capacity);
  }

  #reserve(capacity: number): void {
    const data = newData(this.dtype as "float64", capacity); // any numeric dtype: it is written through numbers or lanes
    if (this.#is64Bit) {
      const lanes = lanesOf(data as unknown as BigInt64Array);
      lanes.set(this.#lanes);
      this.#lanes = lanes;
    } else data.set(this.#numbers as Float64Array);
    this.#numbers = data;
    this.#capacity = capacity;
  }

  pushFloat(cursor: Cursor, isFloat32: boolean): boolean {
    const byte = this.#document.bytes[cursor.offset]!;
    // A digit, a minus, or the N and I of NaN and Infinity; words and strings start otherwise.
    if (!((byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x4e || byte === 0x49)) return false;
    this.#numbers[this.#count] = this.#reader.readDouble(this.#document.bytes, cursor.offset, isFloat32);
    cursor.offset = this.#reader.end;
    return true;
  }

  /** 8 and 16-bit targets keep the low bits, as TensorFlow's int_val does. */
  pushInt32(cursor: Cursor): boolean {
    const reader = this.#reader;
    if (!reader.readInteger(this.#document.bytes, cursor.offset) || reader.high !== 0) return false;
    if (reader.low > (reader.isNegative ? 0x8000_0000 : 0x7fff_ffff)) return false;
    this.#numbers[this.#count] = reader.isNegative ? -reader.low : reader.low;
    cursor.offset = reader.end;
    return true;
  }

  pushUint32(cursor: Cursor): boolean {
    const reader = this.#reader;
    if (!reader.readInteger(this.#document.bytes, cursor.offset) || reader.high !== 0) return false;
    if (reader.isNegative && reader.low !== 0) return false;
    this.#numbers[this.#count] = reader.low;
    cursor.offset = reader.end;
    return true;
  }

  pushInt64(cursor: Cursor, isSigned: boolean): boolean {
    const reader = this.#reader;
    if (!reader.readInteger(this.#document.bytes, cursor.offset)) return false;
    const { isNegative, low, high } = reader;
    if (isSigned ? !isNegative && high >= 0x8000_0000 : isNegative && (low !== 0 || high !== 0)) return false;
    const at = this.#count * 2;
    this.#lanes[at] = isNegative ? -low : low;
    // Two's complement of the pair: the high lane takes a borrow unless the low one is zero.
    this.#lanes[at + 1] = isNegative ? (low === 0 ? -high : ~high) : high;
    cursor.offset = reader.end;
    return true;
  }

  pushBool(cursor: Cursor): boolean {
    const byte = this.#document.bytes[cursor.offset];
    if (byte !== 0x74 && byte !== 0x66) return false;
    this.#numbers[this.#count] = byte === 0x74 ? 1 : 0;
    cursor.offset = skipScalar(this.#document.bytes, cursor.offset);
    return true;
  }

  pushString(cursor: Cursor): boolean {
    const { bytes } = this.#document;
    if (bytes[cursor.offset] === 0x22) {
      this.#strings!.push(stringBytes(bytes, cursor.offset));
      cursor.offset = skipString(bytes, cursor.offset);
      return true;
    }
    const text = base64Text(this.#document, cursor);
    if (!text) return false;
    const decoded = decodeBase64(text);
    if (!decoded) throw new ServingError("INVALID_ARGUMENT", "Unable to base64 decode");
    this.#strings!.push(decoded);
    skipValue(this.#document, cursor);
    return true;
  }
}
