import { ServingError } from "@shardserve/core";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { type Cursor, enter, toMemberValue } from "./cursor.js";
import { describeValue } from "./describe.js";
import type { JsonDocument } from "./document.js";
import { ListFiller, shapeOf } from "./list-filler.js";
import { isStringAt, stringBytes } from "./string.js";
import { TensorBuilder } from "./tensor-builder.js";

/** One input of a row-format body: its elements so far and the shape of one instance. */
class Column {
  readonly name: string;
  readonly builder: TensorBuilder;
  shape: readonly number[] = [];
  /** Number of the last instance that has set this input; -1 = none yet. */
  lastInstance = -1;

  constructor(document: JsonDocument, spec: TensorSpec, instanceCount: number) {
    this.name = spec.name;
    this.builder = new TensorBuilder(document, spec.dtype, instanceCount);
  }
}

const SCALAR: readonly number[] = [];

/** Collects the instances of a row-format body into one tensor per input. The caller moves from instance to instance. */
export class RowReader {
  readonly #document: JsonDocument;
  readonly #cursor: Cursor;
  readonly #columns: readonly Column[];
  readonly #filler: ListFiller;
  #instance = 0;
  /** The value being read: its input, its key in messages, its shape, and the elements before it. */
  #column!: Column;
  #key = "";
  #shape: readonly number[] = [];
  #countBefore = 0;
  #isFirst = false;

  constructor(document: JsonDocument, cursor: Cursor, signature: SignatureInfo, instanceCount: number) {
    this.#document = document;
    this.#cursor = cursor;
    this.#columns = [...signature.inputs.values()].map((spec) => new Column(document, spec, instanceCount));
    this.#filler = new ListFiller(document, cursor);
  }

  /** Begins an instance that is the value of the only input. Returns whether it is read to its end; else `resume`. */
  startValue(instance: number): boolean {
    this.#instance = instance;
    return this.#start(this.#columns[0]!, "");
  }

  /** Enters an instance that is an object and returns the number of its members. */
  enterObject(instance: number): number {
    this.#instance = instance;
    const count = this.#document.counts[this.#cursor.container]!;
    enter(this.#document, this.#cursor);
    return count;
  }

  /** Begins the i-th member of the instance. Returns whether it is read to its end; else `resume`. */
  startMember(i: number): boolean {
    const column = this.#columnAt(i);
    if (!column) {
      const name = stringBytes(this.#document.bytes, this.#cursor.offset).toString();
      throw this.#error(name, "INVALID_ARGUMENT", `JSON object: does not have named input: ${name}`);
    }
    if (column.lastInstance === this.#instance) {
      throw this.#error(column.name, "INVALID_ARGUMENT", "the key occurs twice in the object");
    }
    toMemberValue(this.#document, this.#cursor);
    return this.#start(column, column.name);
  }

  /** Leaves an instance that began at `start` and had `count` members. */
  leaveObject(start: Readonly<Cursor>, count: number): void {
    this.#cursor.offset++;
    if (count === this.#columns.length) return;
    const names = this.#columns.map((column) => column.name).sort();
    throw new ServingError(
      "INVALID_ARGUMENT",
      `Failed to process element: ${this.#instance} of 'instances' list. JSON object: ` +
        `${describeValue(this.#document, start)} keys must be equal to: ${names.join(",")}`,
    );
  }

  /** Goes on with a value. Returns whether it is read to its end. */
  resume(): boolean {
    try {
      if (!this.#filler.resume()) return false;
      this.#end();
      return true;
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  /** The tensors of all inputs that occurred. */
  build(instanceCount: number): ReadonlyMap<string, Tensor> {
    const tensors = new Map<string, Tensor>();
    for (const column of this.#columns) {
      if (column.lastInstance >= 0) tensors.set(column.name, column.builder.build([instanceCount, ...column.shape]));
    }
    return tensors;
  }

  /** Instances mostly name their inputs in one order, so the i-th key is compared with the i-th input first. */
  #columnAt(i: number): Column | undefined {
    const { bytes } = this.#document;
    const { offset } = this.#cursor;
    const likely = this.#columns[i];
    if (likely && isStringAt(bytes, offset, likely.name)) return likely;
    return this.#columns.find((column) => isStringAt(bytes, offset, column.name));
  }

  #start(column: Column, key: string): boolean {
    this.#column = column;
    this.#key = key;
    this.#countBefore = column.builder.count;
    this.#isFirst = column.lastInstance < 0;
    column.lastInstance = this.#instance;
    try {
      // The common case, one scalar per instance, needs no shape.
      const isList = this.#document.bytes[this.#cursor.offset] === 0x5b;
      this.#shape = isList ? shapeOf(this.#document, this.#cursor) : SCALAR;
      if (!isList) column.builder.push(this.#cursor);
      else if (!this.#filler.start(this.#shape, column.builder)) return false;
      this.#end();
      return true;
    } catch (error) {
      throw this.#wrapped(error);
    }
  }

  #end(): void {
    if (this.#isFirst) this.#column.shape = this.#shape;
    else checkSameShape(this.#column.shape, this.#shape, this.#column.builder.count - this.#countBefore);
  }

  #wrapped(error: unknown): unknown {
    return error instanceof ServingError ? this.#error(this.#key, error.status, error.message) : error;
  }

  #error(key: string, status: string, message: string): ServingError {
    const where = key === "" ? `${this.#instance}` : `${this.#instance} key: ${key}`;
    return new ServingError(
      "INVALID_ARGUMENT",
      `Failed to process element: ${where} of 'instances' list. Error: ${status}: ${message}`,
    );
  }
}

function checkSameShape(expected: readonly number[], shape: readonly number[], count: number): void {
  let expectedCount = 1;
  let isSame = expected.length === shape.length;
  for (let i = 0; i < expected.length; i++) {
    expectedCount *= expected[i]!;
    isSame &&= expected[i] === shape[i];
  }
  if (count !== expectedCount) {
    throw new ServingError("INVALID_ARGUMENT", `Expecting tensor size: ${expectedCount} but got: ${count}`);
  }
  if (!isSame) {
    throw new ServingError("INVALID_ARGUMENT", `Expecting shape [${expected.join(",")}] but got: [${shape.join(",")}]`);
  }
}
