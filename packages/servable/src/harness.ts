import { type Clock, invariant, type Logger, ServingError, isServingError, sleep } from "@shardserve/core";
import { LoadedVersion } from "./handle.js";
import type { Loader } from "./loader.js";
import type { MemoryBudget, MemoryPlan, Reservation } from "./memory-plan.js";
import type { HarnessState } from "./policy.js";
import { type ServableId, servableIdText } from "./servable-id.js";
import type { VersionState, VersionStatus } from "./status.js";
import { NO_ERROR } from "./status.js";

const FIRST_RETRY_MS = 1000;

/** Failures that a second try cannot cure; a half-copied directory can look like any other one. */
const HOPELESS = [
  "OP_UNSUPPORTED",
  "UNIMPLEMENTED",
  "MODEL_TOO_LARGE",
  "CONFIG_INVALID",
  "DEPENDENCY_MISSING",
  "MEMORY_LIMIT",
] as const;

/** Failures of what surrounds a version: they may be over later, with its files as they were. */
const OUTAGES = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "DISK_FULL"] as const;

/**
 * Text that changes whenever the files of a version do.
 *
 * @throws when the files cannot be read
 */
export type Fingerprint = (id: ServableId, path: string) => Promise<string>;

export interface HarnessOptions {
  readonly loader: Loader;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Tries after the first. */
  readonly loadRetriesMax: number;
  /** Ceiling of the pause between tries; the pause starts at one second and doubles. */
  readonly loadRetryIntervalMs: number;
  /** Names the state of the version's files; absent = they are not looked at. */
  readonly fingerprint?: Fingerprint;
  /** Memory is reserved here before a load, and given back after the unload; absent = there is no limit. */
  readonly budget?: MemoryBudget | undefined;
  /** Of a version, before it is loaded; asked where there is a budget. */
  readonly planMemory?: ((id: ServableId, path: string) => Promise<MemoryPlan>) | undefined;
  /** Something changed: the manager should look again. */
  readonly onChange: (harness: Harness) => void;
}

/**
 * One version inside the manager:
 *
 *     new -> loading -> ready -> quiescing -> unloading -> disabled
 *               |                                 |
 *               +------------> error <------------+
 *
 * Quiescing begins once the version has left the serving map and lasts until its last handle is released.
 */
export class Harness {
  readonly id: ServableId;
  readonly path: string;
  isAspired = true;
  readonly #options: HarnessOptions;
  readonly #abort = new AbortController();
  #state: HarnessState = "new";
  #publicState: VersionState = "START";
  #error: VersionStatus["error"] = NO_ERROR;
  #loaded: LoadedVersion | null = null;
  /** Why a version that was ready had to go. */
  #verdict: ServingError | undefined;
  #readyAtMs = Number.NaN;
  #reservation: Reservation | undefined;
  #isShortOfMemory = false;
  #hasMetOutage = false;
  /** Of the files that the last try read; "" = unknown. */
  #fingerprint = "";

  constructor(id: ServableId, path: string, options: HarnessOptions) {
    this.id = id;
    this.path = path;
    this.#options = options;
  }

  get state(): HarnessState {
    return this.#state;
  }

  /** The model while the version may be in the serving map, else null. */
  get ready(): LoadedVersion | null {
    return this.#state === "ready" ? this.#loaded : null;
  }

  /** Wanted, but on its way out or gone for what it did. */
  get isCondemned(): boolean {
    return this.#verdict !== undefined;
  }

  /** It failed because others hold the memory that it needs: it may load once some is free. */
  get isShortOfMemory(): boolean {
    return this.#isShortOfMemory;
  }

  /** It failed on what surrounds it and may be over later: a store that was away, a disk that was full. */
  get hasMetOutage(): boolean {
    return this.#hasMetOutage;
  }

  /** When it became ready, on the clock's monotonic scale; NaN = it never did. */
  get readyAtMs(): number {
    return this.#readyAtMs;
  }

  /** On its way out: aspired again, it has to be gone first. */
  get isLeaving(): boolean {
    return this.#state === "quiescing" || this.#state === "unloading" || this.#abort.signal.aborted;
  }

  get status(): VersionStatus {
    return { version: this.id.version, state: this.#publicState, error: this.#error };
  }

  /** AVAILABLE is published only after the version is in the serving map. */
  publishAvailable(): void {
    this.#publicState = "AVAILABLE";
  }

  /** UNLOADING is published before the version leaves the serving map. */
  publishUnloading(): void {
    this.#publicState = "UNLOADING";
  }

  /** Loads with retries; never throws, ends in `ready` or `error`. */
  async load(): Promise<void> {
    this.#state = "loading";
    this.#publicState = "LOADING";
    try {
      this.#loaded = new LoadedVersion(this.id, await this.#loadWithRetries());
      this.#state = "ready";
      this.#readyAtMs = this.#options.clock.nowMs();
    } catch (reason) {
      const error = ServingError.from(this.#abort.signal.aborted ? this.#abort.signal.reason : reason);
      this.#isShortOfMemory = isServingError(error, "MEMORY_LIMIT");
      this.#hasMetOutage = isServingError(error, ...OUTAGES);
      this.#fail(error);
      this.#reservation?.release();
    }
    this.#options.onChange(this);
  }

  /** Whether the files are others than those that the last try failed on. */
  async hasNewFiles(): Promise<boolean> {
    const now = await this.#readFingerprint();
    return now !== "" && now !== this.#fingerprint;
  }

  /** A load that nobody wants any more stops at its next await. */
  cancelLoad(): void {
    this.#abort.abort(new ServingError("CANCELLED", "Loading of servable cancelled"));
  }

  /**
   * Call after the version left the serving map: waits for its handles, then releases the model.
   *
   * @param verdict  why a wanted version has to go: it ends in error, and is not loaded again
   */
  unload(verdict?: ServingError): void {
    this.#verdict = verdict;
    const loaded = this.#loaded!;
    this.#state = "quiescing";
    loaded.whenIdle(() => void this.#release(loaded));
  }

  /** A version that was never loaded and is not wanted any more. */
  discard(): void {
    this.#state = "disabled";
    this.#publicState = "END";
  }

  async #release(loaded: LoadedVersion): Promise<void> {
    this.#state = "unloading";
    try {
      await loaded.model.close();
      if (this.#verdict) {
        this.#fail(this.#verdict);
      } else {
        this.#state = "disabled";
        this.#publicState = "END";
      }
    } catch (error) {
      this.#fail(ServingError.from(error));
    }
    this.#loaded = null;
    this.#reservation?.release();
    this.#options.onChange(this);
  }

  async #loadWithRetries() {
    const { loader, clock, logger, loadRetriesMax, loadRetryIntervalMs } = this.#options;
    const { signal } = this.#abort;
    for (let attempt = 0; ; attempt++) {
      if (this.#options.fingerprint) this.#fingerprint = await this.#readFingerprint();
      try {
        if (this.#options.budget) await this.#reserveMemory(this.#options.budget);
        const reservation = this.#reservation;
        const onPlanned = reservation && ((engineBytes: number) => this.#replan(reservation, engineBytes));
        const model = await loader.load(this.id, this.path, { signal, onPlanned });
        if (!signal.aborted) return model;
        await model.close();
        throw signal.reason as Error;
      } catch (error) {
        if (signal.aborted || attempt >= loadRetriesMax || isServingError(error, ...HOPELESS)) throw error;
        const pauseMs = Math.min(loadRetryIntervalMs, FIRST_RETRY_MS * 2 ** attempt);
        logger.warn(
          { err: error, model: this.id.name, version: this.id.version, attempt: attempt + 1, pauseMs },
          `loading ${servableIdText(this.id)} failed; it is tried again`,
        );
        await sleep(clock, pauseMs, signal);
      }
    }
  }

  /** @throws ServingError MEMORY_LIMIT when others hold too much of the budget */
  async #reserveMemory(budget: MemoryBudget): Promise<void> {
    const { planMemory, logger } = this.#options;
    invariant(planMemory, "a budget comes with plans");
    const plan = await planMemory(this.id, this.path);
    this.#reservation?.release(); // of the try before: the files may be others now
    this.#reservation = budget.reserve(this.id, plan);
    const { heldBytes, limitBytes } = budget;
    logger.info({ model: this.id.name, version: this.id.version, plan, heldBytes, limitBytes }, "memory is reserved");
  }

  /** @throws ServingError MEMORY_LIMIT as {@link #reserveMemory} */
  #replan(reservation: Reservation, engineBytes: number): void {
    reservation.replan(engineBytes);
    const { heldBytes, limitBytes } = this.#options.budget!;
    const { name: model, version } = this.id;
    this.#options.logger.info({ model, version, engineBytes, heldBytes, limitBytes }, "memory is planned");
  }

  async #readFingerprint(): Promise<string> {
    // Files that cannot be read now are no reason to try again; the load itself says what is wrong with them.
    return (await this.#options.fingerprint?.(this.id, this.path).catch(() => "")) ?? "";
  }

  #fail(error: ServingError): void {
    this.#state = "error";
    this.#publicState = "END";
    this.#error = { code: error.status, message: error.message };
    const fields = { err: error, model: this.id.name, version: this.id.version };
    if (error.code === "CANCELLED") this.#options.logger.info(fields, `${servableIdText(this.id)}: ${error.message}`);
    else this.#options.logger.error(fields, `${servableIdText(this.id)} failed: ${error.message}`);
  }
}
