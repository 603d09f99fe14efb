import { setImmediate as nextTurn } from "node:timers/promises";
import type { CancelSignal } from "@shardserve/core";
import type { HostValue } from "@shardserve/graph";
import type { Kernel, OpCall } from "./op-call.js";

/** Multiplications between turns of the event loop: a few milliseconds. */
const WORK_PER_TURN = 2 ** 20;

/** Lets others run while a kernel does much arithmetic: `if (turns.isDue(work)) await turns.next()`. */
export class Turns {
  readonly #signal: CancelSignal | undefined;
  #work = 0;

  constructor(op: OpCall) {
    this.#signal = op.signal;
  }

  /** Counts multiplications that were done; true where a turn is due. */
  isDue(work: number): boolean {
    this.#work += work;
    return this.#work >= WORK_PER_TURN;
  }

  /** @throws the signal's reason where nobody waits for the answer any more */
  async next(): Promise<void> {
    this.#work = 0;
    await nextTurn();
    this.#signal?.throwIfAborted();
  }
}

/** Work that tells after each piece how many multiplications it was. */
export type Pieces<T> = Generator<number, T, void>;

/** What `make` gives for 0 to `count` - 1. */
export function* each<T>(count: number, make: (index: number) => Pieces<T>): Pieces<T[]> {
  const made: T[] = [];
  for (let k = 0; k < count; k++) made.push(yield* make(k));
  return made;
}

/** Multiplications of a piece of {@link inRanges}: its own overhead is lost in them, and a turn has several. */
const WORK_PER_RANGE = 2 ** 16;

/** Calls `visit` for ranges of 0 to `count` - 1, whose elements take `workEach` multiplications each. */
export function* inRanges(count: number, workEach: number, visit: (from: number, end: number) => void): Pieces<void> {
  const size = Math.max(1, Math.floor(WORK_PER_RANGE / workEach));
  for (let from = 0; from < count; from += size) {
    const end = Math.min(count, from + size);
    visit(from, end);
    yield (end - from) * workEach;
  }
}

/**
 * A kernel that lets others run between its pieces once they are more than one turn's. Less work is done at once, so that
 * nodes of constants are still folded when the model loads.
 */
export function inTurns<T extends HostValue>(kernel: (op: OpCall) => Pieces<readonly T[]>): Kernel {
  return (op) => {
    const turns = new Turns(op);
    const pieces = kernel(op);
    for (;;) {
      const { done, value } = pieces.next();
      if (done) return value;
      if (turns.isDue(value)) return finish(pieces, turns);
    }
  };
}

/** From where a turn is due. */
async function finish<T>(pieces: Pieces<T>, turns: Turns): Promise<T> {
  await turns.next();
  return runPieces(pieces, turns);
}

/** What pieces give in the end; others run between them. */
export async function runPieces<T>(pieces: Pieces<T>, turns: Turns): Promise<T> {
  for (;;) {
    const { done, value } = pieces.next();
    if (done) return value;
    if (turns.isDue(value)) await turns.next();
  }
}
