import { setImmediate as nextTurn } from "node:timers/promises";
import type { OpCall } from "./op-call.js";

/** Multiplications between turns of the event loop: a few milliseconds. */
const WORK_PER_TURN = 2 ** 22;

/** Lets others run while a kernel does much arithmetic: `if (turns.isDue(work)) await turns.next()`. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
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
