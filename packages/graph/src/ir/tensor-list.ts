import { invariant } from "@shardserve/core";
import type { DType, Tensor } from "@shardserve/tensor";
import type { Shape } from "./attrs.js";

/** Set on the version that was changed: what it differs in from `newer`. */
interface Difference {
  readonly newer: TensorList;
  readonly index: number;
  readonly item: Tensor | undefined;
}

/**
 * What a variant edge carries on the host: TensorFlow's TensorList, and the flow of a TensorArray, whose contents it stands
 * for. A value: a change gives a new list and leaves the old one as it was.
 *
 * The newest version owns the array and older ones remember how they differ (Baker's persistent array), so that a loop
 * that sets one element a turn does not copy the list each time.
 */
export class TensorList {
  readonly kind = "list";
  readonly elementDType: DType;
  readonly elementShape: Shape;
  readonly length: number;
  #items: (Tensor | undefined)[] | undefined;
  #difference: Difference | undefined;

  /** @param items taken over; undefined = not set yet */
  constructor(elementDType: DType, elementShape: Shape, items: (Tensor | undefined)[]) {
    this.elementDType = elementDType;
    this.elementShape = elementShape;
    this.length = items.length;
    this.#items = items;
  }

  /** All elements; not to be changed, and valid only until the next call on any version of the list. */
  get items(): readonly (Tensor | undefined)[] {
    return this.#own();
  }

  /** The list with element `index`, which must exist, replaced. */
  with(index: number, item: Tensor): TensorList {
    invariant(index >= 0 && index < this.length, `a list of ${this.length} has no element ${index}`);
    const items = this.#own();
    const newer = new TensorList(this.elementDType, this.elementShape, items);
    this.#items = undefined;
    this.#difference = { newer, index, item: items[index] };
    items[index] = item;
    return newer;
  }

  /** Takes the array from the newest version, undoing what came after this one. */
  #own(): (Tensor | undefined)[] {
    if (this.#items) return this.#items;
    const path: TensorList[] = [this];
    for (let next = this.#difference; next; next = next.newer.#difference) path.push(next.newer);
    const items = path.pop()!.#items!;
    for (const older of path.reverse()) {
      const { newer, index, item } = older.#difference!;
      newer.#difference = { newer: older, index, item: items[index] };
      newer.#items = undefined;
      items[index] = item;
      older.#items = items;
      older.#difference = undefined;
    }
    return items;
  }
}
