/** One node on the wire (Yggdrasil's decision_tree.proto), as far as predictions need it. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type FieldReader, readFields, readMessage } from "../call/proto-message.js";
import { readRepeated } from "./forest-headers.js";

/** Fields of the proto's oneof of conditions. */
export const NA_CONDITION = 1;
export const HIGHER_CONDITION = 2;
export const TRUE_CONDITION = 3;
export const CONTAINS_CONDITION = 4;
export const BITMAP_CONDITION = 5;
export const DISCRETIZED_CONDITION = 6;
export const OBLIQUE_CONDITION = 7;

/**
 * Reads nodes of one file into its own fields, the same for every node: models have millions of them.
 */
export class NodeReader {
  readonly #reader: BinaryReader;
  /** Of a leaf: its class, the weight of each class and their sum; or its number. */
  topClass = 0;
  classWeights: number[] = [];
  weightSum = 0;
  hasClasses = false;
  value = 0;
  hasValue = false;
  /** Of a condition; a leaf has none. */
  hasCondition = false;
  holdsMissing = false;
  /** Column of the data spec. */
  attribute = 0;
  /** Field of the oneof. */
  condition = 0;
  threshold = 0;
  /** Categories of a list, or columns of a sum. */
  elements: number[] = [];
  bitmap: Uint8Array = new Uint8Array(0);
  weights: number[] = [];
  replacements: number[] = [];

  constructor(bytes: Uint8Array) {
    this.#reader = new BinaryReader(bytes);
  }

  /**
   * Reads the node at [start, end).
   *
   * @throws Error for bytes that are none
   */
  read(start: number, end: number): void {
    this.topClass = 0;
    this.classWeights.length = 0;
    this.weightSum = 0;
    this.hasClasses = false;
    this.value = 0;
    this.hasValue = false;
    this.hasCondition = false;
    this.holdsMissing = false;
    this.attribute = 0;
    this.condition = 0;
    this.threshold = 0;
    this.elements.length = 0;
    this.bitmap = this.bitmap.subarray(0, 0);
    this.weights.length = 0;
    this.replacements.length = 0;
    this.#reader.pos = start;
    readFields(this.#reader, end, this.#node);
  }

  readonly #node: FieldReader = (field, type) => {
    if (type !== WireType.LengthDelimited) return false;
    if (field === 1) {
      this.hasClasses = true;
      return readMessage(this.#reader, this.#classifier);
    }
    if (field === 2) {
      this.hasValue = true;
      return readMessage(this.#reader, this.#regressor);
    }
    if (field !== 3) return false;
    return readMessage(this.#reader, this.#nodeCondition);
  };

  readonly #classifier: FieldReader = (field, type) => {
    if (field === 1 && type === WireType.Varint) this.topClass = this.#reader.int32();
    else if (field === 2 && type === WireType.LengthDelimited) return readMessage(this.#reader, this.#distribution);
    else return false;
    return true;
  };

  readonly #distribution: FieldReader = (field, type) => {
    if (field === 1) return readRepeated(this.#reader, type, WireType.Bit64, this.#pushClassWeight);
    if (field !== 2 || type !== WireType.Bit64) return false;
    this.weightSum = this.#reader.double();
    return true;
  };

  readonly #regressor: FieldReader = (field, type) => {
    if (field !== 1 || type !== WireType.Bit32) return false;
    this.value = this.#reader.float();
    return true;
  };

  readonly #nodeCondition: FieldReader = (field, type) => {
    if (field === 1 && type === WireType.Varint) this.holdsMissing = this.#reader.bool();
    else if (field === 2 && type === WireType.Varint) this.attribute = this.#reader.int32();
    else if (field === 3 && type === WireType.LengthDelimited) {
      this.hasCondition = true;
      return readMessage(this.#reader, this.#oneof);
    } else return false;
    return true;
  };

  readonly #oneof: FieldReader = (field, type) => {
    if (type !== WireType.LengthDelimited) return false;
    this.condition = field;
    if (field < NA_CONDITION || field > OBLIQUE_CONDITION) return false;
    return readMessage(this.#reader, field === OBLIQUE_CONDITION ? this.#oblique : this.#simple);
  };

  /** Conditions of one field, whose type tells them apart. */
  readonly #simple: FieldReader = (field, type) => {
    if (field !== 1) return false;
    const { condition } = this;
    if (condition === HIGHER_CONDITION && type === WireType.Bit32) this.threshold = this.#reader.float();
    else if (condition === DISCRETIZED_CONDITION && type === WireType.Varint) this.threshold = this.#reader.int32();
    else if (condition === BITMAP_CONDITION && type === WireType.LengthDelimited) this.bitmap = this.#reader.bytes();
    else if (condition === CONTAINS_CONDITION) {
      return readRepeated(this.#reader, type, WireType.Varint, this.#pushElement);
    } else return false;
    return true;
  };

  readonly #oblique: FieldReader = (field, type) => {
    if (field === 1) return readRepeated(this.#reader, type, WireType.Varint, this.#pushElement);
    if (field === 2) return readRepeated(this.#reader, type, WireType.Bit32, this.#pushWeight);
    if (field === 4) return readRepeated(this.#reader, type, WireType.Bit32, this.#pushReplacement);
    if (field !== 3 || type !== WireType.Bit32) return false;
    this.threshold = this.#reader.float();
    return true;
  };

  readonly #pushClassWeight = (): void => void this.classWeights.push(this.#reader.double());
  readonly #pushElement = (): void => void this.elements.push(this.#reader.int32());
  readonly #pushWeight = (): void => void this.weights.push(this.#reader.float());
  readonly #pushReplacement = (): void => void this.replacements.push(this.#reader.float());
}
