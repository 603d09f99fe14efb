/** Reads fields of an untrusted record; every refusal names the field. */
export class FieldReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #where: string;
  readonly #refuse: (why: string) => Error;
  readonly #read = new Set<string>();

  /** @param where  path of the record, "" for the outermost, "tables[3]." for a table */
  constructor(value: unknown, where: string, refuse: (why: string) => Error) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
      throw refuse(`${where === "" ? "it" : where.slice(0, -1)} is not a map`);
    }
    this.#fields = value as Readonly<Record<string, unknown>>;
    this.#where = where;
    this.#refuse = refuse;
  }

  text(name: string, lengthMax: number, pattern?: RegExp): string {
    const value = this.#take(name);
    if (typeof value !== "string" || value.length > lengthMax || (pattern && !pattern.test(value))) {
      throw this.#bad(name, pattern ? `must match ${pattern.source}` : `must be a text of at most ${lengthMax}`);
    }
    return value;
  }

  /** An integer in [min, max]. */
  int(name: string, min: number, max: number): number {
    const value = this.#take(name);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.#bad(name, `must be an integer in [${min}, ${max}]`);
    }
    return value;
  }

  oneOf<const T extends string>(name: string, values: readonly T[]): T {
    const value = this.#take(name);
    const found = values.find((candidate) => candidate === value);
    if (found === undefined) throw this.#bad(name, `must be one of ${values.join(", ")}`);
    return found;
  }

  list<T>(name: string, lengthMax: number, item: (value: unknown, where: string) => T): T[] {
    const value = this.#take(name);
    if (!Array.isArray(value) || value.length > lengthMax) {
      throw this.#bad(name, `must be a list of at most ${lengthMax}`);
    }
    return value.map((entry, i) => item(entry, `${this.#where}${name}[${i}]`));
  }

  /** A list of records, each of which `read` takes whole. */
  records<T>(name: string, lengthMax: number, read: (record: FieldReader, where: string) => T): T[] {
    return this.list(name, lengthMax, (value, where) => {
      const record = new FieldReader(value, `${where}.`, this.#refuse);
      const item = read(record, where);
      record.end();
      return item;
    });
  }

  /** True when the record has the field. */
  has(name: string): boolean {
    return Object.hasOwn(this.#fields, name);
  }

  /** Refuses fields that nobody asked for: they would be silently ignored otherwise. */
  end(): void {
    for (const name of Object.keys(this.#fields)) {
      if (!this.#read.has(name)) throw this.#refuse(`${this.#where}${name.slice(0, 80)} is not a known field`);
    }
  }

  #take(name: string): unknown {
    this.#read.add(name);
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }

  #bad(name: string, rule: string): Error {
    return this.#refuse(`${this.#where}${name} ${rule}`);
  }
}
