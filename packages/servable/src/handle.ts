import { invariant } from "@shardserve/core";
import type { Model } from "./model.js";
import { Outcomes } from "./outcomes.js";
import type { ServableId } from "./servable-id.js";

/** Outcomes are kept of the last one to two minutes with traffic. */
const OUTCOME_WINDOW_MS = 60_000;
/** Caches are cold and sessions untuned at first: the times of this long say nothing about a version. */
const COLD_MS = 10_000;

/** A loaded model and the number of handles on it. Owned by the manager; requests see only handles. */
export class LoadedVersion {
  readonly id: ServableId;
  readonly model: Model;
  readonly outcomes = new Outcomes(OUTCOME_WINDOW_MS);
  #firstRequestMs = Number.NaN;
  #pins = 0;
  #onIdle: (() => void) | null = null;

  constructor(id: ServableId, model: Model) {
    this.id = id;
    this.model = model;
  }

  get pins(): number {
    return this.#pins;
  }

  recordOutcome(nowMs: number, isError: boolean, durationMs: number): void {
    if (Number.isNaN(this.#firstRequestMs)) this.#firstRequestMs = nowMs;
    const isTimed = !isError && nowMs - this.#firstRequestMs >= COLD_MS;
    this.outcomes.record(nowMs, isError, isTimed ? durationMs : undefined);
  }

  pin(): ServableHandle {
    this.#pins++;
    return new ServableHandle(this);
  }

  unpin(): void {
    this.#pins--;
    invariant(this.#pins >= 0, "a handle was released twice");
    if (this.#pins === 0) this.#onIdle?.();
  }

  /** Calls back once nobody holds a handle; at once when that is so already. For a version that left the serving map. */
  whenIdle(callback: () => void): void {
    if (this.#pins === 0) callback();
    else this.#onIdle = callback;
  }
}

/** Pins one version for the life of a request: the version is unloaded only after its last handle was released. */
export class ServableHandle implements Disposable {
  #version: LoadedVersion | null;
  readonly id: ServableId;
  readonly model: Model;

  constructor(version: LoadedVersion) {
    this.#version = version;
    this.id = version.id;
    this.model = version.model;
  }

  /** A second handle on the same version, released on its own; for work that outlives the request that began it. */
  clone(): ServableHandle {
    invariant(this.#version, "a released handle cannot be cloned");
    return this.#version.pin();
  }

  /** What became of a request on the version; a version on probation is judged by it. */
  recordOutcome(nowMs: number, isError: boolean, durationMs: number): void {
    this.#version?.recordOutcome(nowMs, isError, durationMs);
  }

  /** Idempotent. The model must not be used afterwards. */
  release(): void {
    this.#version?.unpin();
    this.#version = null;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
