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

/** What the cluster loader knows of versions beside their states. */
export interface LoaderNews {
  /** At which epoch a loaded version is answered. */
  epochOf(id: ServableId): { readonly epoch: number; readonly error: ServingError | undefined } | undefined;
  /** What keeps a version that is being loaded. */
  troubleOf(id: ServableId): ServingError | undefined;
  /** Calls back after either has changed. */
  onChange(listener: () => void): void;
}

/**
 * Keeps an executor's registry record equal to what it serves: the leader retires an old version only when all executors
 * have the new one. The record is there from the start, so that operators see what the first versions wait for; until requests
 * are taken, nothing in it is available.
 */
export class ServedReport {
  readonly #manager: Manager;
  readonly #keys: LeasedKeys;
  readonly #identity: Omit<ExecutorRecord, "serving" | "addresses">;
  readonly #loader: LoaderNews;
  #addresses: ExecutorRecord["addresses"] | undefined;
  #last = "";

  constructor(
    manager: Manager,
    keys: LeasedKeys,
    identity: Omit<ExecutorRecord, "serving" | "addresses">,
    loader: LoaderNews,
  ) {
    this.#manager = manager;
    this.#keys = keys;
    this.#identity = identity;
    this.#loader = loader;
  }

  start(): void {
    this.#report();
    this.#loader.onChange(() => this.#report());
    this.#manager.onChange(() => this.#report());
  }

  /** Requests are taken now, at these addresses. */
  listens(addresses: ExecutorRecord["addresses"]): void {
    this.#addresses = addresses;
    this.#report();
  }

  #report(): void {
    const serving = this.#manager.names().flatMap((model) => this.#servedOf(model));
    const record = { ...this.#identity, addresses: this.#addresses ?? {}, serving };
    const text = JSON.stringify(record);
    if (text === this.#last) return;
    this.#last = text;
    // Rejected only once the keys are closed, when the record is gone anyway.
    this.#keys.set(executorKey(record.id), executorRecord.encode(record)).catch(() => undefined);
  }

  #servedOf(model: string): ServedVersion[] {
    const statuses = this.#manager.statuses(model) ?? [];
    const served = statuses.flatMap((status) => toServed(model, status, this.#loader));
    return served.map((one) => ({
      ...one,
      ...(one.state === "available" && !this.#addresses && { state: "loading" as const }),
      ...memoryOf(this.#manager, one),
    }));
  }
}

function memoryOf({ memory }: Manager, { model, version }: ServedVersion): Pick<ServedVersion, "memoryBytes"> {
  const held = memory?.versions.find(({ id }) => id.name === model && id.version === version);
  return held ? { memoryBytes: totalBytes(held.plan) } : {};
}

/** A version that ended well is not listed: it is not served. */
function toServed(model: string, { version, state, error }: VersionStatus, loader: LoaderNews): ServedVersion[] {
  if (state === "END") return error.code === "OK" ? [] : [{ model, version, state: "failed", error }];
  const id = { name: model, version };
  const served = loader.epochOf(id);
  const trouble = served ? served.error : loader.troubleOf(id);
  return [
    {
      model,
      version,
      state: STATES[state],
      ...(served && { epoch: served.epoch }),
      ...(trouble && { error: recordError(trouble) }),
    },
  ];
}
