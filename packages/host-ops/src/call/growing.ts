type Growable = Uint8Array | Int32Array | Float32Array | Float64Array;

/** A typed array that grows by doubling. */
export class Growing<T extends Growable> {
  #data: T;
  #length = 0;
  readonly #make: (length: number) => T;

  constructor(make: (length: number) => T) {
    this.#make = make;
    this.#data = make(64);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    this.#reserve(1);
    this.#data[this.#length++] = value;
  }

  append(values: ArrayLike<number>): void {
    this.#reserve(values.length);
    this.#data.set(values, this.#length);
    this.#length += values.length;
  }

  /** What was added; valid until more is. */
  get values(): T {
    return this.#data.subarray(0, this.#length) as T;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#data.length) return;
    const data = this.#make(Math.max(needed, 2 * this.#data.length));
    data.set(this.#data);
    this.#data = data;
  }
}
