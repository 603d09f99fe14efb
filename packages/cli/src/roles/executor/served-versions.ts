import {
  type ExecutorRecord,
  executorKey,
  executorRecord,
  type LeasedKeys,
  recordError,
  type ServedVersion,
} from "@shardserve/registry";
import type { ServingError } from "@shardserve/core";
import { type Manager, type ServableId, totalBytes, type VersionStatus } from "@shardserve/servable";

const STATES = { START: "loading", LOADING: "loading", AVAILABLE: "available", UNLOADING: "unloading" } as const;

/** At which epoch versions are answered; the cluster loader knows. */
export interface EpochsServed {
  epochOf(id: ServableId): { readonly epoch: number; readonly error: ServingError | undefined } | undefined;
  onEpoch(listener: () => void): void;
}

/**
 * Keeps an executor's registry record equal to what it serves: the leader retires an old version only when all executors
 * have the new one.
 *
 * @returns a function that ends it
 */
export function reportServedVersions(
  manager: Manager,
  keys: LeasedKeys,
  identity: Omit<ExecutorRecord, "serving">,
  epochs: EpochsServed,
): () => void {
  let last = "";
  const report = () => {
    const serving = manager
      .names()
      .flatMap((model) => (manager.statuses(model) ?? []).flatMap((status) => toServed(model, status, epochs)))
      .map((served) => ({ ...served, ...memoryOf(manager, served) }));
    const text = JSON.stringify(serving);
    if (text === last) return;
    last = text;
    // Rejected only once the keys are closed, when the record is gone anyway.
    keys.set(executorKey(identity.id), executorRecord.encode({ ...identity, serving })).catch(() => undefined);
  };
  report();
  epochs.onEpoch(report);
  return manager.onChange(report);
}

function memoryOf({ memory }: Manager, { model, version }: ServedVersion): Pick<ServedVersion, "memoryBytes"> {
  const held = memory?.versions.find(({ id }) => id.name === model && id.version === version);
  return held ? { memoryBytes: totalBytes(held.plan) } : {};
}

/** A version that ended well is not listed: it is not served. */
function toServed(model: string, { version, state, error }: VersionStatus, epochs: EpochsServed): ServedVersion[] {
  if (state === "END") return error.code === "OK" ? [] : [{ model, version, state: "failed", error }];
  const served = epochs.epochOf({ name: model, version });
  return [
    {
      model,
      version,
      state: STATES[state],
      ...(served && { epoch: served.epoch }),
      ...(served?.error && { error: recordError(served.error) }),
    },
  ];
}
