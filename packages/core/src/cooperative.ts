import { setImmediate as nextTurn } from "node:timers/promises";

/**
 * Long computation in pieces: it yields wherever it may pause, a few milliseconds apart at the sizes that are served.
 * The same code serves tools, which run it at once, and servers, which let traffic through in between.
 */
export type Pieces<T> = Generator<void, T>;

/** Runs to the end. */
export function runAtOnce<T>(pieces: Pieces<T>): T {
  let result = pieces.next();
  while (!result.done) result = pieces.next();
  return result.value;
}

/** Lets others run; resolves when the caller may go on. */
export type Pause = () => Promise<void>;

/**
 * Runs to the end, with a pause after each piece.
 *
 * @param pause  default: one turn of the event loop
 * @throws the signal's reason once it is aborted
 */
export async function runInTurns<T>(pieces: Pieces<T>, signal?: AbortSignal, pause: Pause = nextTurn): Promise<T> {
  for (;;) {
    signal?.throwIfAborted();
    const result = pieces.next();
    if (result.done) return result.value;
    await pause();
  }
}
