import { invariant } from "@shardserve/core";

/**
 * Which batches are filling slots right now, and who waits for them. A fill ends with success or failure, it never
 * rejects: a waiter whose source failed (its caller gave up, say) looks again for itself.
 */
export class FillBoard {
  readonly #fills = new Map<
    number,
    { readonly promise: Promise<boolean>; readonly settle: (isFilled: boolean) => void }
  >();

  /** The batch begins to fill. */
  begin(batch: number): void {
    let settle: (isFilled: boolean) => void = () => undefined;
    const promise = new Promise<boolean>((resolve) => {
      settle = resolve;
    });
    this.#fills.set(batch, { promise, settle });
  }

  /** The batch's rows are there, or will not come. */
  end(batch: number, isFilled: boolean): void {
    this.#fills.get(batch)?.settle(isFilled);
    this.#fills.delete(batch);
  }

  /**
   * Call it in the same turn as the claim that named the batches: later one of them may be gone, and how it ended with it.
   *
   * @returns resolves to true when all of them filled their rows
   */
  async whenAllFilled(batches: ReadonlySet<number>): Promise<boolean> {
    const promises: Promise<boolean>[] = [];
    for (const batch of batches) {
      const fill = this.#fills.get(batch);
      invariant(fill, () => `batch ${batch} fills slots but is not on the board`);
      promises.push(fill.promise);
    }
    return (await Promise.all(promises)).every(Boolean);
  }
}
