import type { Clock, Semaphore } from "@shardserve/core";
import type { DeviceStep } from "@shardserve/graph";
import type { OrtSession, OrtValue } from "@shardserve/native";
import { elementCount } from "@shardserve/tensor";
import { deviceError } from "./device-error.js";
import type { Run, SlotMap } from "./frame.js";

/** Below this the hop to another thread costs more than it frees; above it the event loop would notice. */
const SYNC_MS_MAX = 0.3;
/** What the hop adds to a run on another thread. */
const HOP_MS = 0.1;
/** Input sizes are told apart by their power of two. */
const SIZE_CLASSES = 32;

/** A device step and its session. Learns from its runs which sizes are quick enough for the event loop. */
export class BoundDeviceStep {
  readonly #session: OrtSession;
  readonly #inputs: Int32Array;
  readonly #outputs: Int32Array;
  /** 1 for inputs that are the rows of a lookup. */
  readonly #isRows: Uint8Array;
  readonly #clock: Clock;
  readonly #runs: Semaphore;
  /** Its time follows from the values of its inputs, not from their sizes: it has a loop. */
  readonly #isUnpredictable: boolean;
  /** Expected milliseconds by size class; NaN = never run. */
  readonly #expectedMs = new Float64Array(SIZE_CLASSES).fill(Number.NaN);

  /** @param rowSlots  slots that hold rows of lookups */
  constructor(
    step: DeviceStep,
    session: OrtSession,
    slots: SlotMap,
    rowSlots: ReadonlySet<number>,
    clock: Clock,
    runs: Semaphore,
  ) {
    this.#session = session;
    this.#inputs = Int32Array.from(step.inputs, (ref) => slots.of(ref));
    this.#outputs = Int32Array.from(step.outputs, (ref) => slots.of(ref));
    this.#isRows = Uint8Array.from(this.#inputs, (slot) => Number(rowSlots.has(slot)));
    this.#clock = clock;
    this.#runs = runs;
    this.#isUnpredictable = step.nodes.some((node) => node.op === "Loop");
  }

  run(run: Run): void | Promise<void> {
    const feeds: OrtValue[] = [];
    let size = 1;
    for (let i = 0; i < this.#inputs.length; i++) {
      const feed = run.forDevice(this.#inputs[i]!);
      feeds.push(feed);
      // The rows of a lookup are as large as their cache; their slots say how much work there is.
      if (this.#isRows[i] === 0) size += elementCount(feed.shape);
    }
    if (this.#isUnpredictable) return this.#runAsync(feeds, run, 0);
    const sizeClass = Math.min(31 - Math.clz32(size), SIZE_CLASSES - 1);
    if (this.#expectedMs[sizeClass]! <= SYNC_MS_MAX) this.#runSync(feeds, run, sizeClass);
    else return this.#runAsync(feeds, run, sizeClass);
  }

  #runSync(feeds: readonly OrtValue[], run: Run, sizeClass: number): void {
    const startMs = this.#clock.nowMs();
    try {
      this.#store(this.#session.runSync(feeds), run);
    } catch (error) {
      throw deviceError(error);
    }
    const elapsedMs = this.#clock.nowMs() - startMs;
    this.#expectedMs[sizeClass] = 0.75 * this.#expectedMs[sizeClass]! + 0.25 * elapsedMs;
  }

  async #runAsync(feeds: readonly OrtValue[], run: Run, sizeClass: number): Promise<void> {
    const { signal } = run;
    await this.#runs.acquire(1, signal);
    try {
      const startMs = this.#clock.nowMs();
      this.#store(await this.#session.run(feeds, { signal }), run);
      const elapsedMs = Math.max(this.#clock.nowMs() - startMs - HOP_MS, 0);
      const expectedMs = this.#expectedMs[sizeClass]!;
      // Waiting for a thread only ever adds: believe the quickest run, but forget it slowly.
      this.#expectedMs[sizeClass] = Number.isNaN(expectedMs) ? elapsedMs : Math.min(elapsedMs, expectedMs * 1.05);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw deviceError(error);
    } finally {
      this.#runs.release();
    }
  }

  #store(outputs: readonly OrtValue[], run: Run): void {
    for (let i = 0; i < outputs.length; i++) run.values[this.#outputs[i]!] = run.own(outputs[i]!);
  }
}
