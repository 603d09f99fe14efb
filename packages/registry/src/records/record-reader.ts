import { ServingError } from "@shardserve/core";

/** Longest text and list that a record may hold; above it the record is refused. */
const TEXT_LENGTH_MAX = 16_384;
const LIST_LENGTH_MAX = 1 << 17;

/** Reads the fields of one decoded object, each with its rule, so that nothing unchecked gets past the registry's edge. */
export class RecordReader {
  /** What is being read, for messages. */
  readonly where: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /** @throws ServingError INVALID_ARGUMENT when `raw` is no object */
  constructor(raw: unknown, where: string) {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
      throw new ServingError("INVALID_ARGUMENT", `${where}: is not an object`);
    }
    this.where = where;
    this.#fields = raw as Readonly<Record<string, unknown>>;
  }

  raw(field: string): unknown {
    return Object.hasOwn(this.#fields, field) ? this.#fields[field] : undefined;
  }

  /** `{ [field]: read() }` when the field is there, `{}` when it is not. */
  optional<const F extends string, T>(field: F, read: () => T): { readonly [K in F]?: T } {
    const value = this.raw(field);
    if (value === undefined || value === null) return {};
    return { [field]: read() } as { readonly [K in F]?: T };
  }

  text(field: string): string {
    const value = this.raw(field);
    if (typeof value !== "string" || value.length > TEXT_LENGTH_MAX) return this.refuse(field, "is not a text");
    return value;
  }

  boolean(field: string): boolean {
    const value = this.raw(field);
    return typeof value === "boolean" ? value : this.refuse(field, "is not true or false");
  }

  number(field: string, min: number, max: number): number {
    const value = this.raw(field);
    if (typeof value !== "number" || !(value >= min && value <= max)) {
      return this.refuse(field, `is not a number in [${min}, ${max}]`);
    }
    return value;
  }

  integer(field: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.number(field, min, max);
    return Number.isSafeInteger(value) ? value : this.refuse(field, "is not an integer");
  }

  oneOf<const T extends string>(field: string, values: readonly T[]): T {
    const value = values.find((candidate) => candidate === this.raw(field));
    return value ?? this.refuse(field, `is not one of ${values.join(", ")}`);
  }

  integers(field: string): number[] {
    return this.#list(field, (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0);
  }

  texts(field: string): string[] {
    return this.#list(field, (value) => typeof value === "string" && value.length <= TEXT_LENGTH_MAX);
  }

  object(field: string): RecordReader {
    return new RecordReader(this.raw(field), `${this.where}: ${field}`);
  }

  objects(field: string): RecordReader[] {
    return this.#list<unknown>(field, () => true).map(
      (item, i) => new RecordReader(item, `${this.where}: ${field}[${i}]`),
    );
  }

  refuse(field: string, rule: string): never {
    throw new ServingError("INVALID_ARGUMENT", `${this.where}: ${field} ${rule}`);
  }

  #list<T>(field: string, isGood: (value: unknown) => boolean): T[] {
    const value = this.raw(field);
    if (!Array.isArray(value) || value.length > LIST_LENGTH_MAX) {
      return this.refuse(field, `is not a list of at most ${LIST_LENGTH_MAX} items`);
    }
    const bad = value.findIndex((item) => !isGood(item));
    return bad < 0 ? (value as T[]) : this.refuse(field, `has an ill-typed item at ${bad}`);
  }
}
