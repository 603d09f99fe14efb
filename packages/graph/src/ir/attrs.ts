import { ServingError } from "@shardserve/core";
import { decodeTensorProto, type DType, dtypeFromTf, type Tensor } from "@shardserve/tensor";
import { opDef } from "../op-table.js";

/** A function name with its attributes: the value of a `func` attribute. */
export interface FunctionRef {
  readonly func: string;
  readonly attrs: ReadonlyMap<string, AttrValue>;
}

/** Stands inside a function body for an attribute of the caller. */
export interface AttrPlaceholder {
  readonly placeholder: string;
}

/** A TensorProto that is decoded on first use and then kept. */
export class LazyTensor {
  #bytes: Uint8Array | undefined;
  #tensor: Tensor | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** @throws ServingError as decodeTensorProto does */
  get(): Tensor {
    this.#tensor ??= decodeTensorProto(this.#bytes!);
    this.#bytes = undefined;
    return this.#tensor;
  }
}

/** A partial shape: -1 = unknown dimension, undefined = unknown rank. */
export type Shape = readonly number[] | undefined;

/**
 * An attribute's value as plain data; which kind it is, the accessor knows: ints are bigint or number, strings are bytes
 * or text, types are DataType numbers or dtype names, shapes are arrays (-1 unknown) or null for unknown rank, lists are arrays.
 */
export type AttrValue =
  | bigint
  | number
  | boolean
  | string
  | Uint8Array
  | null
  | Tensor
  | LazyTensor
  | FunctionRef
  | AttrPlaceholder
  | readonly AttrValue[];

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * The attributes of a node. Accessors fill in the op's defaults, because SavedModels are stored with defaults stripped.
 * Every accessor throws ServingError GRAPH_INVALID when the attribute is absent without a default or of another kind.
 */
export class Attrs {
  readonly op: string;
  readonly #values: ReadonlyMap<string, AttrValue>;
  readonly #defaults: ReadonlyMap<string, AttrValue> | undefined;

  constructor(op: string, values: ReadonlyMap<string, AttrValue> | Readonly<Record<string, AttrValue>> = {}) {
    this.op = op;
    this.#values = values instanceof Map ? values : new Map(Object.entries(values));
    this.#defaults = opDef(op)?.defaults;
  }

  /** The explicit value or the op's default; undefined when there is neither. */
  get(name: string): AttrValue | undefined {
    const value = this.#values.get(name);
    return value === undefined ? this.#defaults?.get(name) : value;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** Explicit values only. */
  entries(): Iterable<[string, AttrValue]> {
    return this.#values;
  }

  /** A copy with some values set, for an op that may differ. */
  with(values: Readonly<Record<string, AttrValue>>, op = this.op): Attrs {
    return new Attrs(op, new Map([...this.#values, ...Object.entries(values)]));
  }

  /** An integer that JavaScript holds exactly. */
  int(name: string): number {
    return this.#int(name, this.#need(name));
  }

  bigint(name: string): bigint {
    const value = this.#need(name);
    if (typeof value === "bigint") return value;
    if (Number.isSafeInteger(value)) return BigInt(value as number);
    return this.#fail(name, "an integer");
  }

  float(name: string): number {
    return this.#float(name, this.#need(name));
  }

  bool(name: string): boolean {
    return this.#bool(name, this.#need(name));
  }

  /** A string attribute as bytes. */
  bytes(name: string): Uint8Array {
    return this.#bytes(name, this.#need(name));
  }

  /** A string attribute as UTF-8 text. */
  text(name: string): string {
    return this.#text(name, this.#need(name));
  }

  dtype(name: string): DType {
    return this.#dtype(name, this.#need(name));
  }

  shape(name: string): Shape {
    return this.#shape(name, this.#need(name));
  }

  tensor(name: string): Tensor {
    const value = this.#need(name);
    if (value instanceof LazyTensor) return value.get();
    if (isObject(value) && "dtype" in value) return value;
    return this.#fail(name, "a tensor");
  }

  func(name: string): FunctionRef {
    const value = this.#need(name);
    return isObject(value) && "func" in value ? value : this.#fail(name, "a function");
  }

  funcs(name: string): readonly FunctionRef[] {
    return this.#list(name).map((value) =>
      isObject(value) && "func" in value ? value : this.#fail(name, "a function"),
    );
  }

  ints(name: string): number[] {
    return this.#list(name).map((value) => this.#int(name, value));
  }

  floats(name: string): number[] {
    return this.#list(name).map((value) => this.#float(name, value));
  }

  bools(name: string): boolean[] {
    return this.#list(name).map((value) => this.#bool(name, value));
  }

  /** A list of strings as bytes. */
  byteStrings(name: string): Uint8Array[] {
    return this.#list(name).map((value) => this.#bytes(name, value));
  }

  texts(name: string): string[] {
    return this.#list(name).map((value) => this.#text(name, value));
  }

  dtypes(name: string): DType[] {
    return this.#list(name).map((value) => this.#dtype(name, value));
  }

  shapes(name: string): Shape[] {
    return this.#list(name).map((value) => this.#shape(name, value));
  }

  /** Which dtype among the attributes is none of ours (8-bit floats, 4-bit integers); undefined where there is no such one. */
  unsupportedDtype(): string | undefined {
    for (const [name, type] of opDef(this.op)?.attrTypes ?? []) {
      if ((type !== "type" && type !== "list(type)") || !this.has(name)) continue;
      try {
        if (type === "type") this.dtype(name);
        else this.dtypes(name);
      } catch (error) {
        return `attribute "${name}": ${ServingError.from(error).message}`;
      }
    }
    return undefined;
  }

  #need(name: string): AttrValue {
    const value = this.get(name);
    if (value === undefined) {
      throw new ServingError("GRAPH_INVALID", `a ${this.op} node has no attribute "${name}", which has no default`);
    }
    return value;
  }

  #fail(name: string, expected: string): never {
    throw new ServingError("GRAPH_INVALID", `attribute "${name}" of a ${this.op} node is not ${expected}`);
  }

  #list(name: string): readonly AttrValue[] {
    const value = this.#need(name);
    return Array.isArray(value) ? (value as readonly AttrValue[]) : this.#fail(name, "a list");
  }

  #int(name: string, value: AttrValue): number {
    const int = typeof value === "bigint" ? Number(value) : value;
    return Number.isSafeInteger(int) ? (int as number) : this.#fail(name, "an integer below 2^53");
  }

  #float(name: string, value: AttrValue): number {
    if (typeof value === "number") return value;
    // op-table.json spells infinities and NaN as text.
    if (value === "inf") return Number.POSITIVE_INFINITY;
    if (value === "-inf") return Number.NEGATIVE_INFINITY;
    return value === "nan" ? Number.NaN : this.#fail(name, "a float");
  }

  #bool(name: string, value: AttrValue): boolean {
    return typeof value === "boolean" ? value : this.#fail(name, "a bool");
  }

  #bytes(name: string, value: AttrValue): Uint8Array {
    if (value instanceof Uint8Array) return value;
    return typeof value === "string" ? encoder.encode(value) : this.#fail(name, "a string");
  }

  #text(name: string, value: AttrValue): string {
    if (typeof value === "string") return value;
    return value instanceof Uint8Array ? decoder.decode(value) : this.#fail(name, "a string");
  }

  #dtype(name: string, value: AttrValue): DType {
    if (typeof value === "number") return dtypeFromTf(value);
    return typeof value === "string" ? (value as DType) : this.#fail(name, "a dtype");
  }

  #shape(name: string, value: AttrValue): Shape {
    if (value === null) return undefined;
    return Array.isArray(value) ? value.map((dim) => Number(dim)) : this.#fail(name, "a shape");
  }
}

function isObject(value: AttrValue): value is Tensor | FunctionRef | AttrPlaceholder {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
