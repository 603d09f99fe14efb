/** Gathers that began while the same partitions were mapped. */
interface Era {
  count: number;
  drained: (() => void) | undefined;
}

/** Tells when the last gather is over that could have found what is being taken away. */
export class GatherEras {
  #era: Era = { count: 0, drained: undefined };
  /** Ends when no gather of an earlier era runs. */
  #earlier: Promise<void> = Promise.resolve();

  /** Counts a gather that has begun into the era of now. */
  async during(gather: Promise<void>): Promise<void> {
    const era = this.#era;
    era.count++;
    try {
      await gather;
    } finally {
      if (--era.count === 0) era.drained?.();
    }
  }

  /** Begins a new era; resolves when no gather of an earlier one runs. */
  next(): Promise<void> {
    const era = this.#era;
    this.#era = { count: 0, drained: undefined };
    const before = this.#earlier;
    const drained = new Promise<void>((resolve) => {
      if (era.count === 0) resolve();
      else era.drained = resolve;
    });
    this.#earlier = before.then(() => drained);
    return this.#earlier;
  }
}
