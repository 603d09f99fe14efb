import { type Before, makeHeap, popHeap, pushHeap, sortAsGnu, sortHeap } from "../call/gnu-order.js";

/**
 * The largest elements of a row that holds NaN, which is neither less nor more than anything: what comes out depends on every
 * comparison that is made, so these are the steps of TensorFlow's kernel and of the C++ library that it is linked with (GNU's).
 */

/**
 * Writes the positions of the `top.length` largest of `count` keys, beginning at `from`, in TensorFlow's order.
 *
 * @param lanes  how many elements TensorFlow compares at a time where it looks for the largest alone
 */
export function topWithNaN(keys: ArrayLike<number>, from: number, count: number, lanes: number, top: Int32Array): void {
  if (top.length === 1) top[0] = positionOfLargest(keys, from, count, lanes);
  else if (top.length === count) sortAll(keys, from, top);
  else sortHeap(top, heapOfBest(keys, from, count, top));
}

/** The same of any row, fewer than all of it and more than one, in the order in which TensorFlow leaves its heap where no order is asked for. */
export function topAsHeap(keys: ArrayLike<number>, from: number, count: number, top: Int32Array): void {
  heapOfBest(keys, from, count, top);
}

/** Whole groups of lanes pass NaN over, the elements behind them are taken up by it: then the first position stands for it. */
function positionOfLargest(keys: ArrayLike<number>, from: number, count: number, lanes: number): number {
  const whole = count - (count % lanes);
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < whole; i++) if (keys[from + i]! > largest) largest = keys[from + i]!;
  let rest = Number.NEGATIVE_INFINITY;
  for (let i = whole; i < count; i++) rest = keys[from + i]! < rest ? rest : keys[from + i]!;
  if (!(rest <= largest)) largest = rest;
  for (let i = 0; i < count; i++) if (keys[from + i] === largest) return i;
  return 0;
}

/** std::sort by falling keys; then runs of equal keys by position. */
function sortAll(keys: ArrayLike<number>, from: number, positions: Int32Array): void {
  const count = positions.length;
  const isBefore: Before = (a, b) => keys[from + b]! < keys[from + a]!;
  for (let i = 0; i < count; i++) positions[i] = i;
  sortAsGnu(positions, isBefore, (position) => Number.isNaN(keys[from + position]!));
  for (let start = 0; start < count; ) {
    const key = keys[from + positions[start]!]!;
    let end = start + 1;
    while (end < count && keys[from + positions[end]!] === key) end++;
    positions.subarray(start, end).sort();
    start = end;
  }
}

/**
 * A heap of the best with the worst at its root; ties, and NaN beside anything, by position.
 *
 * @returns the heap's order
 */
function heapOfBest(keys: ArrayLike<number>, from: number, count: number, top: Int32Array): Before {
  const k = top.length;
  const isBefore: Before = (a, b) => {
    const [x, y] = [keys[from + a]!, keys[from + b]!];
    return y < x || (!(y > x) && a < b);
  };
  const heap = Int32Array.from({ length: k + 1 }, (_, i) => i);
  makeHeap(heap, k + 1, isBefore);
  popHeap(heap, k + 1, isBefore);
  for (let i = k + 1; i < count; i++) {
    if (!isBefore(i, heap[0]!)) continue;
    popHeap(heap, k, isBefore);
    heap[k - 1] = i;
    pushHeap(heap, k, isBefore);
  }
  top.set(heap.subarray(0, k));
  return isBefore;
}
