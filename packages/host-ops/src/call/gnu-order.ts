/**
 * Sorting and heaps, step by step as GNU's C++ library has them, with which TensorFlow is linked: where an order leaves
 * things open (ties, NaN), what comes out depends on every comparison that is made.
 */

/** Whether one item comes before another. */
export type Before = (a: number, b: number) => boolean;

/** Lists up to this length, and what a sort leaves of longer ones, are sorted by insertion. */
const SHORT = 16;

/**
 * std::sort
 *
 * @param isApart  of items that come neither before nor after any, if there may be such: NaN
 */
export function sortAsGnu(list: Int32Array, isBefore: Before, isApart?: (item: number) => boolean): void {
  introsort(list, 0, list.length, 2 * Math.floor(Math.log2(list.length)), isBefore);
  insertionSort(list, Math.min(SHORT, list.length), isBefore);
  if (isApart) sortRuns(list, isBefore, isApart);
  else for (let i = SHORT; i < list.length; i++) insertBackwards(list, i, isBefore);
}

/**
 * What inserting one item after the other comes to where no item passes those that are apart: the stable order of each run between two of
 * them. With such items introsort may leave others far from their places, and then inserting takes time in the square of the length.
 */
function sortRuns(list: Int32Array, isBefore: Before, isApart: (item: number) => boolean): void {
  const order = (a: number, b: number): number => (isBefore(a, b) ? -1 : Number(isBefore(b, a)));
  for (let start = 0; start < list.length; ) {
    let end = start;
    while (end < list.length && !isApart(list[end]!)) end++;
    list.subarray(start, end).sort(order);
    start = end + 1;
  }
}

function introsort(list: Int32Array, first: number, last: number, depth: number, isBefore: Before): void {
  let end = last;
  for (let left = depth; end - first > SHORT; left--) {
    if (left === 0) {
      const part = list.subarray(first, end);
      makeHeap(part, part.length, isBefore);
      sortHeap(part, isBefore);
      return;
    }
    const cut = partition(list, first, end, isBefore);
    introsort(list, cut, end, left - 1, isBefore);
    end = cut;
  }
}

/** Around the median of the second, the middle and the last, which is moved to the first place. */
function partition(list: Int32Array, first: number, last: number, isBefore: Before): number {
  const [a, b, c] = [first + 1, first + Math.floor((last - first) / 2), last - 1];
  swap(list, first, medianOf(list, a, b, c, isBefore));
  const pivot = list[first]!;
  let low = first + 1;
  let high = last;
  for (;;) {
    // Without NaN the pivot stops both; with it the ends of the row must.
    while (low < list.length && isBefore(list[low]!, pivot)) low++;
    high--;
    while (high > first && isBefore(pivot, list[high]!)) high--;
    if (low >= high) return low;
    swap(list, low, high);
    low++;
  }
}

function medianOf(list: Int32Array, a: number, b: number, c: number, isBefore: Before): number {
  const [x, y, z] = [list[a]!, list[b]!, list[c]!];
  if (isBefore(x, y)) {
    if (isBefore(y, z)) return b;
    return isBefore(x, z) ? c : a;
  }
  if (isBefore(x, z)) return a;
  return isBefore(y, z) ? c : b;
}

function insertionSort(list: Int32Array, count: number, isBefore: Before): void {
  for (let i = 1; i < count; i++) {
    const item = list[i]!;
    if (!isBefore(item, list[0]!)) insertBackwards(list, i, isBefore);
    else {
      list.copyWithin(1, 0, i);
      list[0] = item;
    }
  }
}

function insertBackwards(list: Int32Array, from: number, isBefore: Before): void {
  const item = list[from]!;
  let at = from;
  for (; at > 0 && isBefore(item, list[at - 1]!); at--) list[at] = list[at - 1]!;
  list[at] = item;
}

/** std::make_heap of the first `size` items: what comes last is at the root. */
export function makeHeap(heap: Int32Array, size: number, isBefore: Before): void {
  for (let parent = (size >> 1) - 1; parent >= 0; parent--) siftDown(heap, parent, size, heap[parent]!, isBefore);
}

/** std::pop_heap: moves the root behind a heap that is one smaller. */
export function popHeap(heap: Int32Array, size: number, isBefore: Before): void {
  if (size < 2) return;
  const item = heap[size - 1]!;
  heap[size - 1] = heap[0]!;
  siftDown(heap, 0, size - 1, item, isBefore);
}

/** std::push_heap: takes in the item behind a heap, which is the last of `size`. */
export function pushHeap(heap: Int32Array, size: number, isBefore: Before): void {
  siftUp(heap, size - 1, 0, heap[size - 1]!, isBefore);
}

/** std::sort_heap */
export function sortHeap(heap: Int32Array, isBefore: Before): void {
  for (let size = heap.length; size > 1; size--) popHeap(heap, size, isBefore);
}

/** A hole sinks to the bottom, and the item rises from there. */
function siftDown(heap: Int32Array, from: number, size: number, item: number, isBefore: Before): void {
  let hole = from;
  for (let child = 2 * hole + 2; child <= size; child = 2 * hole + 2) {
    if (child === size || isBefore(heap[child]!, heap[child - 1]!)) child--;
    heap[hole] = heap[child]!;
    hole = child;
  }
  siftUp(heap, hole, from, item, isBefore);
}

function siftUp(heap: Int32Array, from: number, root: number, item: number, isBefore: Before): void {
  let hole = from;
  while (hole > root && isBefore(heap[(hole - 1) >> 1]!, item)) {
    heap[hole] = heap[(hole - 1) >> 1]!;
    hole = (hole - 1) >> 1;
  }
  heap[hole] = item;
}

function swap(list: Int32Array, a: number, b: number): void {
  const item = list[a]!;
  list[a] = list[b]!;
  list[b] = item;
}
