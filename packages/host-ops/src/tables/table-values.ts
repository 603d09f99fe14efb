import {
  type DType,
  elementCount,
  isNumeric,
  newData,
  type StringColumn,
  StringColumnBuilder,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { takeRuns, withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import { isComplex } from "../call/numeric.js";

export interface TableSpec {
  readonly keyDtype: DType;
  readonly valueDtype: DType;
  /** Shape of one value; [] for scalars. */
  readonly valueShape: readonly number[];
  /** Static tables are filled once and refuse a key with two values; mutable ones overwrite. */
  readonly isMutable: boolean;
  /** Keys that may not be used, and what the table calls them. */
  readonly reservedKeys?: readonly { readonly name: string; readonly key: Tensor }[];
}

/** Rows of values: appended, replaced, and read as one array or column. */
export interface ValueStore {
  set(row: number, source: Tensor, sourceRow: number): void;
  /** All rows so far; valid until the next `set`. */
  data(): Tensor;
}

/** An empty store for the values of a table. */
export function valueStore(spec: TableSpec): ValueStore {
  return spec.valueDtype === "string" ? new StringValues(spec) : new NumericValues(spec);
}

/** Numeric rows in a growing array of raw bytes. */
class NumericValues implements ValueStore {
  readonly #spec: TableSpec;
  readonly #run: number;
  #array: Tensor;
  #rows = 0;

  constructor(spec: TableSpec) {
    this.#spec = spec;
    this.#run = elementCount(spec.valueShape);
    this.#array = this.#allocate(8);
  }

  set(row: number, source: Tensor, sourceRow: number): void {
    if ((row + 1) * this.#run > (this.#array.data as Uint8Array).length) {
      const grown = this.#allocate(Math.max(row + 1, this.#rows * 2));
      (grown.data as Uint8Array).set(this.#array.data as Uint8Array);
      this.#array = grown;
    }
    const from = source.data as Uint8Array;
    const to = this.#array.data as Uint8Array;
    if (this.#run === 1) to[row] = from[sourceRow]!;
    else to.set(from.subarray(sourceRow * this.#run, (sourceRow + 1) * this.#run), row * this.#run);
    this.#rows = Math.max(this.#rows, row + 1);
  }

  data(): Tensor {
    const { valueDtype, valueShape } = this.#spec;
    return withData(
      valueDtype,
      [this.#rows, ...valueShape],
      (this.#array.data as Uint8Array).subarray(0, this.#rows * this.#run),
    );
  }

  #allocate(rows: number): Tensor {
    const { valueDtype } = this.#spec;
    if (!isNumeric(valueDtype) || isComplex(valueDtype)) throw invalid(`a lookup table of ${valueDtype} values`);
    checkOutput(valueDtype, rows * this.#run);
    const data = newData(valueDtype, rows * this.#run);
    return withData(valueDtype, [rows, ...this.#spec.valueShape], data);
  }
}

/** String rows: every set appends, and `at` says where a row's latest strings lie. */
class StringValues implements ValueStore {
  readonly #spec: TableSpec;
  readonly #run: number;
  #log = new StringColumnBuilder();
  #at: number[] = [];
  #packed: Tensor | undefined;

  constructor(spec: TableSpec) {
    this.#spec = spec;
    this.#run = elementCount(spec.valueShape);
  }

  set(row: number, source: Tensor, sourceRow: number): void {
    const { bytes, offsets } = source.data as StringColumn;
    this.#at[row] = this.#log.length;
    for (let k = sourceRow * this.#run; k < (sourceRow + 1) * this.#run; k++) {
      this.#log.pushRange(bytes, offsets[k]!, offsets[k + 1]!);
    }
    this.#packed = undefined;
  }

  data(): Tensor {
    if (this.#packed) return this.#packed;
    const all = tensor("string", [this.#log.length], this.#log.build());
    const packed = takeRuns(all, this.#at, this.#run, [this.#at.length, ...this.#spec.valueShape]);
    // Dropping what was overwritten keeps the log as small as the table.
    if (all.shape[0] !== this.#at.length * this.#run) {
      this.#log = new StringColumnBuilder();
      const { bytes, offsets, length } = packed.data as StringColumn;
      for (let k = 0; k < length; k++) this.#log.pushRange(bytes, offsets[k]!, offsets[k + 1]!);
      this.#at = this.#at.map((_, row) => row * this.#run);
    }
    this.#packed = packed;
    return packed;
  }
}
