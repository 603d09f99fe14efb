import type { Clock } from "@shardserve/core";

interface Event {
  readonly atMs: number;
  /** Among events of one time, the first one scheduled comes first. */
  readonly order: number;
  readonly run: () => void;
  isCancelled: boolean;
}

/** Simulated time: a binary heap of what is to happen. Nothing here depends on real time, so a seed gives one history. */
export class Timeline implements Clock {
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #orders = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const event = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      order: this.#orders++,
      run: callback,
      isCancelled: false,
    };
    this.#push(event);
    return () => (event.isCancelled = true);
  }

  /** Lets everything up to then happen. */
  runUntil(untilMs: number): void {
    for (let next = this.#heap[0]; next && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop();
      this.#nowMs = next.atMs;
      if (!next.isCancelled) next.run();
    }
    this.#nowMs = untilMs;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
