import { setImmediate as nextTurn } from "node:timers/promises";

/** A turn of the event loop goes on to the next piece until it has taken this long. */
const TURN_MS = 1;

/** Items between two places where a computation may pause: far less than a millisecond, and about one before the code is compiled. */
const PIECE_ITEMS = 32;

/**
 * Long computation in pieces: it yields wherever it may pause, a millisecond apart or less, however large its subject.
 * The same code serves tools, which run it at once, and servers, which let traffic through in between.
 */
export type Pieces<T> = Generator<void, T>;

/** Runs to the end. */
export function runAtOnce<T>(pieces: Pieces<T>): T {
  let result = pieces.next();
  while (!result.done) result = pieces.next();
  return result.value;
}

/** Handles items one after the other, in pieces. */
export function* eachInPieces<T>(items: Iterable<T>, handle: (item: T) => void): Pieces<void> {
  let count = 0;
  for (const item of items) {
    handle(item);
    if (++count % PIECE_ITEMS === 0) yield;
  }
}

/** Lets others run; resolves when the caller may go on. */
export type Pause = () => Promise<void>;

/**
 * Runs to the end, with a pause after each millisecond of pieces.
 *
 * @param pause  default: one turn of the event loop
 * @throws the signal's reason once it is aborted
 */
export async function runInTurns<T>(pieces: Pieces<T>, signal?: AbortSignal, pause: Pause = nextTurn): Promise<T> {
  for (let startMs = performance.now(); ; ) {
    signal?.throwIfAborted();
    const result = pieces.next();
    if (result.done) return result.value;
    if (performance.now() - startMs < TURN_MS) continue;
    await pause();
    startMs = performance.now();
  }
}
