import type { Clock, Semaphore } from "@shardserve/core";
import type { DeviceStep } from "@shardserve/graph";
import { elementCount } from "@shardserve/tensor";
import type { DeviceSession, DeviceValue } from "../device/device.js";
import { deviceError } from "../device/device-error.js";
import type { Run, SlotMap } from "./frame.js";
import { RunPace } from "./run-pace.js";

/** A device step and its session. Learns from its runs which sizes are quick enough for the event loop. */
export class BoundDeviceStep {
  readonly #session: DeviceSession;
  readonly #inputs: Int32Array;
  readonly #outputs: Int32Array;
  /** 1 for inputs that are the rows of a lookup. */
  readonly #isRows: Uint8Array;
  readonly #clock: Clock;
  readonly #runs: Semaphore;
  /** Its time follows from the values of its inputs, not from their sizes: it has a loop. */
  readonly #isUnpredictable: boolean;
  readonly #pace = new RunPace();

  /** @param rowSlots  slots that hold rows of lookups */
  constructor(
    step: DeviceStep,
    session: DeviceSession,
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
    const feeds: DeviceValue[] = [];
    let size = 1;
    let isEmpty = false;
    for (let i = 0; i < this.#inputs.length; i++) {
      const feed = run.forDevice(this.#inputs[i]!, this.#session);
      feeds.push(feed);
      // The rows of a lookup are as large as their cache; their slots say how much work there is.
      const count = elementCount(feed.shape);
      if (this.#isRows[i] === 0) size += count;
      if (count === 0) isEmpty = true;
    }
    // What is empty may need another session, which is made on another thread.
    if (!isEmpty && !this.#isUnpredictable && this.#pace.isQuick(size, run.isAlone)) this.#runSync(feeds, run, size);
    else return this.#runAsync(feeds, run, size);
  }

  #runSync(feeds: readonly DeviceValue[], run: Run, size: number): void {
    const startMs = this.#clock.nowMs();
    try {
      this.#store(this.#session.runSync(feeds), run);
    } catch (error) {
      throw deviceError(error);
    }
    this.#pace.ranSync(size, this.#clock.nowMs() - startMs);
  }

  async #runAsync(feeds: readonly DeviceValue[], run: Run, size: number): Promise<void> {
    const { signal, deadlineMs } = run.request;
    await this.#runs.acquire(1, signal);
    try {
      const startMs = this.#clock.nowMs();
      const timeoutMs = deadlineMs === undefined ? undefined : deadlineMs - startMs;
      this.#store(await this.#session.run(feeds, { signal, timeoutMs }), run);
      this.#pace.ranAsync(size, this.#clock.nowMs() - startMs);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw deviceError(error);
    } finally {
      this.#runs.release();
    }
  }

  #store(outputs: readonly DeviceValue[], run: Run): void {
    for (let i = 0; i < outputs.length; i++) run.values[this.#outputs[i]!] = run.own(outputs[i]!);
  }
}
