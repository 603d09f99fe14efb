import type { HostValue, TensorRef } from "@shardserve/graph";
import { refKey } from "@shardserve/graph";
import { type CancelSignal, invariant, type TraceParent } from "@shardserve/core";
import type { Tensor } from "@shardserve/tensor";
import type { RowLease } from "@shardserve/rowstore";
import { type DeviceSession, type DeviceValue, isDeviceValue } from "../device/device.js";
import type { RowsTally } from "../rows-report.js";

/** What one slot of a run's frame holds. */
export type FrameValue = HostValue | DeviceValue | undefined;

/** Numbers the values of a plan, so that a run keeps them in an array. */
export class SlotMap {
  readonly #slots = new Map<string, number>();

  of(ref: TensorRef): number {
    const key = refKey(ref);
    let slot = this.#slots.get(key);
    if (slot === undefined) this.#slots.set(key, (slot = this.#slots.size));
    return slot;
  }

  get size(): number {
    return this.#slots.size;
  }
}

/** What a run and the runs of the regions within it share. */
export interface RunRequest {
  readonly signal: CancelSignal | undefined;
  readonly deadlineMs: number | undefined;
  readonly isExplained: boolean;
  readonly traceParent: TraceParent | undefined;
  readonly epoch: number | undefined;
  /** Takes the report of every lookup. */
  readonly rows: RowsTally;
}

/** The state of one run: its values, and what must be given back when it is over. */
export class Run {
  readonly values: FrameValue[];
  readonly request: RunRequest;
  /** See {@link RunOptions}; absent = never. */
  readonly isAlone: (() => boolean) | undefined;
  readonly #owned: DeviceValue[] = [];
  readonly #leases: RowLease[] = [];
  #isOver = false;

  /** @param template  values that every run starts with: constants and variables of host steps */
  constructor(template: readonly FrameValue[], request: RunRequest, isAlone?: () => boolean) {
    this.values = template.slice();
    this.request = request;
    this.isAlone = isAlone;
  }

  /**
   * Rows for this run; they are released with it.
   *
   * @returns false when the run is over, because rows of another source failed first: these are released at once
   */
  hold(lease: RowLease): boolean {
    if (this.#isOver) {
      lease.release();
      return false;
    }
    this.#leases.push(lease);
    this.request.rows.add(lease);
    return true;
  }

  /** A value for the engine: what the engine made, or an alias of a tensor. */
  forDevice(slot: number, session: DeviceSession): DeviceValue {
    const value = this.values[slot];
    invariant(value !== undefined, () => `slot ${slot} is empty`);
    invariant("dtype" in value, "a resource handle cannot go to the engine");
    const feed = session.feed(value);
    return feed === value ? feed : this.own(feed);
  }

  /** A value for the host: engine values are copied out once. */
  forHost(slot: number): HostValue {
    const value = this.values[slot];
    invariant(value !== undefined, () => `slot ${slot} is empty`);
    if (!isDeviceValue(value)) return value;
    const tensor = value.toTensor();
    this.values[slot] = tensor;
    return tensor;
  }

  tensor(slot: number): Tensor {
    const value = this.forHost(slot);
    invariant("dtype" in value, "a resource handle is no tensor");
    return value;
  }

  /** Takes over an engine value; it is released with the run. */
  own<V extends DeviceValue>(value: V): V {
    this.#owned.push(value);
    return value;
  }

  /** Gives everything back. */
  end(): void {
    this.#isOver = true;
    for (const value of this.#owned) value.dispose();
    for (const lease of this.#leases) lease.release();
  }
}
