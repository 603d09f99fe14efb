import { ServingError } from "@shardserve/core";
import type { HostResource } from "@shardserve/graph";
import { type DType, elementCount, lanesOf, newData, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { appender, build, takeRuns, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { BytesIndex, Int64Index } from "../call/key-index.js";
import { allocate } from "../call/limits.js";
import { is64Bit, isComplex, isFloating, numbersOf } from "../call/numeric.js";
import { sameShape } from "../call/shapes.js";
import { type TableSpec, type ValueStore, valueStore } from "./table-values.js";

/** Keys of a table, asked for one by one out of a buffer. */
export interface StringSet {
  /** Bytes of the longest key. */
  readonly longest: number;
  has(bytes: Uint8Array, start: number, end: number): boolean;
}

/**
 * A lookup table of TensorFlow (HashTable, MutableHashTable, ...): keys to ordinals by open addressing over lanes or bytes,
 * values in rows beside. Not thread-safe and need not be: kernels run on one thread.
 */
export class LookupTable implements HostResource {
  readonly kind = "table";
  readonly spec: TableSpec;
  #isInitialized: boolean;
  #index: KeyLookup;
  #values: ValueStore;

  constructor(spec: TableSpec) {
    this.spec = spec;
    this.#isInitialized = spec.isMutable;
    this.#index = keyLookup(spec.keyDtype);
    this.#values = valueStore(spec);
  }

  get isInitialized(): boolean {
    return this.#isInitialized;
  }

  get size(): number {
    return this.#index.count;
  }

  /**
   * Fills a static table.
   *
   * @throws ServingError FAILED_PRECONDITION when a key has two values, or when the table was filled with other data before
   */
  initialize(keys: Tensor, values: Tensor): void {
    this.#check(keys, values);
    // A failed fill leaves the table as it was.
    const fresh = new LookupTable(this.spec);
    fresh.#insert(keys, values, true);
    if (!this.#isInitialized) {
      this.#index = fresh.#index;
      this.#values = fresh.#values;
      this.#isInitialized = true;
    } else if (!fresh.#equals(this)) {
      throw new ServingError("FAILED_PRECONDITION", "Table was already initialized with different data.");
    }
  }

  /** Adds entries, overwriting those that exist. */
  insert(keys: Tensor, values: Tensor): void {
    this.#check(keys, values);
    this.#insert(keys, values, false);
  }

  /** Replaces all entries. Reserved keys, which stand for free buckets in a saved dense table, are left out. */
  import(savedKeys: Tensor, savedValues: Tensor): void {
    const [keys, values] = this.#unreserved(savedKeys, savedValues);
    this.#check(keys, values);
    this.#index = keyLookup(this.spec.keyDtype);
    this.#values = valueStore(this.spec);
    this.#insert(keys, values, false);
  }

  remove(keys: Tensor): void {
    this.#checkDtypes(keys, this.#values.data());
    const { keys: all, values } = this.export();
    const gone = keyLookup(this.spec.keyDtype);
    const addGone = gone.reader(keys);
    for (let i = 0; i < elementCount(keys.shape); i++) addGone.add(i);
    const find = gone.reader(all);
    const kept: number[] = [];
    for (let i = 0; i < this.size; i++) if (find.find(i) < 0) kept.push(i);
    const run = elementCount(this.spec.valueShape);
    this.import(
      takeRuns(all, kept, 1, [kept.length]),
      takeRuns(
        values,
        kept.map((i) => i * run),
        run,
        [kept.length, ...this.spec.valueShape],
      ),
    );
  }

  /**
   * Values of `keys`, `fallback` where a key is absent.
   *
   * @param fallback  one value, or one per key
   * @throws ServingError FAILED_PRECONDITION before the table was filled, INVALID_ARGUMENT for other dtypes than the table's
   */
  find(keys: Tensor, fallback: Tensor): Tensor {
    if (!this.#isInitialized) throw new ServingError("FAILED_PRECONDITION", "Table not initialized.");
    this.#checkDtypes(keys, fallback);
    const { valueShape, valueDtype } = this.spec;
    const shape = [...keys.shape, ...valueShape];
    const run = elementCount(valueShape);
    const count = elementCount(keys.shape);
    const perKey = sameShape(fallback.shape, shape) && shape.length > valueShape.length;
    check(
      perKey || elementCount(fallback.shape) === run,
      () =>
        `Expected shape ${printShape(valueShape)} or ${printShape(shape)} for default value, got ${printShape(fallback.shape)}`,
    );
    const starts = this.#index.ordinals(keys);
    let misses = 0;
    for (let i = 0; i < count; i++) if (starts[i]! < 0) misses++;
    if (misses === count && perKey) return fallback;
    const values = this.#values.data();
    if (run === 1 && is64Bit(valueDtype)) return pickWide(values, starts, fallback, shape);
    if (run !== 1) for (let i = 0; i < count; i++) if (starts[i]! > 0) starts[i] = starts[i]! * run;
    if (misses === 0) return takeRuns(values, starts, run, shape);
    const out = appender(valueDtype, count * run);
    // Stretches of hits and of misses move together.
    for (let i = 0; i < count; ) {
      const isMiss = starts[i]! < 0;
      let end = i + 1;
      while (end < count && starts[end]! < 0 === isMiss) end++;
      if (!isMiss) out.appendRuns(values.data, starts.subarray(i, end), run);
      else if (perKey) out.append(fallback.data, i * run, (end - i) * run);
      else out.appendRuns(fallback.data, new Uint8Array(end - i), run);
      i = end;
    }
    return build(valueDtype, shape, out);
  }

  /**
   * The strings whose value is another than `absent`; valid until the table changes.
   *
   * @throws ServingError INVALID_ARGUMENT before the table was filled, and for tables of other types than string to int64
   */
  stringSet(absent: number): StringSet {
    check(this.#isInitialized, () => "Table not initialized.");
    const { keyDtype, valueDtype } = this.spec;
    check(keyDtype === "string", () => `Key must be type ${keyDtype} but got string`);
    check(valueDtype === "int64", () => `Value must be type ${valueDtype} but got int64`);
    const index = this.#index.strings!;
    const lanes = lanesOf(this.#values.data().data as BigInt64Array);
    const high = absent < 0 ? -1 : 0;
    return {
      longest: index.longest,
      has: (bytes, start, end) => {
        const ordinal = index.find(bytes, start, end);
        return ordinal >= 0 && !(lanes[2 * ordinal] === absent && lanes[2 * ordinal + 1] === high);
      },
    };
  }

  /** All keys and values, in order of insertion. */
  export(): { keys: Tensor; values: Tensor } {
    const { keyDtype } = this.spec;
    return { keys: this.#index.export(keyDtype), values: this.#values.data() };
  }

  /** @param refusesChange  a key that comes twice must bring the same value; for an empty table only */
  #insert(keys: Tensor, values: Tensor, refusesChange: boolean): void {
    const reader = this.#index.reader(keys);
    /** By ordinal, the row of `values` that brought it. */
    const sources: number[] = [];
    for (let i = 0; i < elementCount(keys.shape); i++) {
      const before = this.#index.count;
      const ordinal = reader.add(i);
      if (refusesChange && this.#index.count === before) {
        const source = sources[ordinal]!;
        if (sameRow(values, source, values, i)) continue;
        throw new ServingError(
          "FAILED_PRECONDITION",
          `HashTable has different value for same key. Key ${printAt(keys, i)} has ${printAt(values, source)} and trying to add value ${printAt(values, i)}`,
        );
      }
      sources[ordinal] = i;
      this.#values.set(ordinal, values, i);
    }
  }

  #unreserved(keys: Tensor, values: Tensor): [Tensor, Tensor] {
    const { reservedKeys = [], keyDtype, valueShape } = this.spec;
    const count = elementCount(keys.shape);
    if (reservedKeys.length === 0 || keys.dtype !== keyDtype || values.shape[0] !== count) return [keys, values];
    const kept: number[] = [];
    for (let i = 0; i < count; i++) if (!reservedKeys.some(({ key }) => sameRow(keys, i, key, 0))) kept.push(i);
    if (kept.length === count) return [keys, values];
    const run = elementCount(valueShape);
    const starts = kept.map((i) => i * run);
    return [takeRuns(keys, kept, 1, [kept.length]), takeRuns(values, starts, run, [kept.length, ...valueShape])];
  }

  #equals(other: LookupTable): boolean {
    if (this.size !== other.size) return false;
    const { keys, values } = other.export();
    const reader = this.#index.reader(keys);
    const own = this.#values.data();
    for (let i = 0; i < other.size; i++) {
      const ordinal = reader.find(i);
      if (ordinal < 0 || !sameRow(own, ordinal, values, i)) return false;
    }
    return true;
  }

  #checkDtypes(keys: Tensor, values: Tensor): void {
    const { keyDtype, valueDtype, reservedKeys } = this.spec;
    check(keys.dtype === keyDtype, () => `Key must be type ${keyDtype} but got ${keys.dtype}`);
    check(values.dtype === valueDtype, () => `Value must be type ${valueDtype} but got ${values.dtype}`);
    for (const { name, key } of reservedKeys ?? []) {
      for (let i = 0; i < elementCount(keys.shape); i++) {
        check(!sameRow(keys, i, key, 0), () => `Using the ${name} as a table key is not allowed`);
      }
    }
  }

  #check(keys: Tensor, values: Tensor): void {
    this.#checkDtypes(keys, values);
    const shape = [...keys.shape, ...this.spec.valueShape];
    check(
      sameShape(values.shape, shape),
      () => `Expected shape ${printShape(shape)} for value, got ${printShape(values.shape)}`,
    );
  }
}

/** Element `places[i]` of `values`, of 64-bit integers, or of `fallback` where it is -1: its element i, or its only one. */
function pickWide(values: Tensor, places: Int32Array, fallback: Tensor, shape: readonly number[]): Tensor {
  const data = allocate(values.dtype as "int64", places.length);
  const to = lanesOf(data);
  const from = lanesOf(values.data as BigInt64Array);
  const other = lanesOf(fallback.data as BigInt64Array);
  const otherStep = other.length > 2 ? 2 : 0;
  for (let i = 0; i < places.length; i++) {
    const place = places[i]!;
    to[2 * i] = place < 0 ? other[i * otherStep]! : from[2 * place]!;
    to[2 * i + 1] = place < 0 ? other[i * otherStep + 1]! : from[2 * place + 1]!;
  }
  return withData(values.dtype, shape, data);
}

function printAt(value: Tensor, i: number): string {
  if (value.data instanceof StringColumn) return value.data.textAt(i);
  return String((value.data as unknown as ArrayLike<number | bigint>)[i]);
}

/** True when scalar row i of `a` equals row j of `b`. */
function sameRow(a: Tensor, i: number, b: Tensor, j: number): boolean {
  if (a.data instanceof StringColumn) return Buffer.compare(a.data.at(i), (b.data as StringColumn).at(j)) === 0;
  return (a.data as unknown as ArrayLike<unknown>)[i] === (b.data as unknown as ArrayLike<unknown>)[j];
}

/** Reads keys out of one tensor. */
interface KeyReader {
  find(i: number): number;
  add(i: number): number;
}

interface KeyLookup {
  readonly count: number;
  reader(keys: Tensor): KeyReader;
  /** The ordinal of every key of a tensor, -1 where it is absent. */
  ordinals(keys: Tensor): Int32Array;
  export(dtype: DType): Tensor;
  /** The index itself, of string keys. */
  readonly strings?: BytesIndex;
}

function keyLookup(dtype: DType): KeyLookup {
  if (dtype === "string") {
    const index = new BytesIndex();
    return {
      strings: index,
      get count() {
        return index.count;
      },
      reader: (keys) => {
        const { bytes, offsets } = keys.data as StringColumn;
        return {
          find: (i) => index.find(bytes, offsets[i]!, offsets[i + 1]!),
          add: (i) => index.add(bytes, offsets[i]!, offsets[i + 1]!),
        };
      },
      ordinals: (keys) => {
        const { bytes, offsets } = keys.data as StringColumn;
        return index.findAll(bytes, offsets);
      },
      export: () => {
        const { bytes, offsets } = index.keys;
        return tensor("string", [index.count], new StringColumn(bytes.slice(), offsets.slice()));
      },
    };
  }
  if (isFloating(dtype) || isComplex(dtype)) {
    throw new ServingError("UNIMPLEMENTED", `lookup tables with keys of ${dtype} are not supported`);
  }
  const index = new Int64Index();
  return {
    get count() {
      return index.count;
    },
    reader: (keys) => {
      const lanes = keyLanes(keys);
      return {
        find: (i) => index.find(lanes[2 * i]!, lanes[2 * i + 1]!),
        add: (i) => index.add(lanes[2 * i]!, lanes[2 * i + 1]!),
      };
    },
    ordinals: (keys) => index.findAll(keyLanes(keys)),
    export: () => {
      const lanes = index.lanes.slice();
      const wide = new BigInt64Array(lanes.buffer, 0, index.count);
      if (is64Bit(dtype)) return withData(dtype, [index.count], wide);
      const narrow = newData(dtype as "int32", index.count);
      narrow.set(numbersOf(tensor("int64", [index.count], wide)) as never);
      return withData(dtype, [index.count], narrow);
    },
  };
}

/** Integer keys as 64-bit lanes. */
function keyLanes(keys: Tensor): Int32Array {
  return lanesOf(is64Bit(keys.dtype) ? (keys.data as BigInt64Array) : fromIntegers(numbersOf(keys)));
}
