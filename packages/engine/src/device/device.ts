import type { CancelSignal } from "@shardserve/core";
import type { DeviceStep, DeviceSupport, ValueInfo } from "@shardserve/graph";
import { OrtValue, TfTensor } from "@shardserve/native";
import type { Tensor } from "@shardserve/tensor";

/** A value in an engine's hands. */
export type DeviceValue = OrtValue | TfTensor;

export function isDeviceValue(value: unknown): value is DeviceValue {
  return value instanceof OrtValue || value instanceof TfTensor;
}

/** One device step, ready to run. Runs may overlap. */
export interface DeviceSession {
  /** A value as this engine takes it: the same object when it is the engine's already, else one that the caller owns. */
  feed(value: Tensor | DeviceValue): DeviceValue;
  /**
   * Runs on another thread. Feeds come from {@link feed}, in the order of the step's inputs.
   *
   * @returns the step's outputs, in order; the caller disposes of them
   */
  run(feeds: readonly DeviceValue[], options: DeviceRunOptions): Promise<DeviceValue[]>;
  /** As {@link run}, on this thread; no feed is empty. */
  runSync(feeds: readonly DeviceValue[]): DeviceValue[];
}

export interface DeviceRunOptions {
  readonly signal?: CancelSignal | undefined;
  /** Time until the request's deadline. */
  readonly timeoutMs?: number | undefined;
}

/** An engine as the compiler and one loaded model see it. */
export interface Device {
  readonly supports: DeviceSupport["supports"];
  /**
   * Sessions for all steps of plans that are loaded together.
   *
   * @param onPlanned  told how many bytes it will keep beside the mapped checkpoint, before it does, where it knows; what it throws ends the call
   */
  open(steps: readonly PlannedDeviceStep[], onPlanned?: (copiedBytes: number) => void): Promise<DeviceSession[]>;
  close(): Promise<void>;
}

export interface PlannedDeviceStep {
  readonly step: DeviceStep;
  readonly infos: ReadonlyMap<string, ValueInfo>;
}
