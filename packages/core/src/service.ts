import { ServingError } from "./errors.js";
import { invariant } from "./invariant.js";

/** `failed` is reached when start throws; what it had opened is closed again before the error is passed on. */
export type ServiceState = "new" | "starting" | "ready" | "draining" | "closed" | "failed";

const NEXT: Readonly<Record<ServiceState, readonly ServiceState[]>> = {
  new: ["starting", "closed"],
  starting: ["ready", "failed", "draining"],
  ready: ["draining"],
  draining: ["closed"],
  failed: ["closed"],
  closed: [],
};

/** How long closing may wait. */
export interface CloseOptions {
  /** How long work in flight may still take, in milliseconds; 0 aborts it at once. */
  readonly drainMs: number;
}

/**
 * One lifecycle for everything that runs: start once, drain, close once.
 *
 * `onStart` opens; `onDrain` refuses new work and waits for what is in flight, at most `drainMs`; `onClose` releases,
 * also after a failed start. A second `close` joins the first.
 */
export abstract class Service implements AsyncDisposable {
  #state: ServiceState = "new";
  #starting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  get state(): ServiceState {
    return this.#state;
  }

  protected abstract onStart(signal: AbortSignal): Promise<void>;
  protected abstract onDrain(drainMs: number): Promise<void>;
  protected abstract onClose(): Promise<void>;

  /** @throws what onStart throws, after everything it opened was closed */
  async start(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#to("starting");
    this.#starting = this.onStart(options.signal ?? new AbortController().signal);
    try {
      await this.#starting;
    } catch (error) {
      if (this.#state === "starting") {
        this.#to("failed");
        await this.onClose().catch(() => undefined); // the first error is the one to report
      }
      throw error;
    }
    if (this.#state === "starting") this.#to("ready");
  }

  /** Idempotent: all callers share the first call's outcome. */
  close(options: CloseOptions = { drainMs: 0 }): Promise<void> {
    return (this.#closing ??= this.#close(options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ drainMs: 0 });
  }

  /** @throws ServingError DRAINING unless the service is ready */
  protected assertReady(): void {
    if (this.#state !== "ready") {
      throw new ServingError("DRAINING", `${this.constructor.name} is ${this.#state}; it takes no new work`);
    }
  }

  async #close(options: CloseOptions): Promise<void> {
    if (this.#state === "new" || this.#state === "failed") return this.#to("closed");
    this.#to("draining");
    await this.#starting?.catch(() => undefined); // its caller gets the error
    try {
      await this.onDrain(options.drainMs);
    } finally {
      await this.onClose();
      this.#to("closed");
    }
  }

  #to(state: ServiceState): void {
    invariant(
      NEXT[this.#state].includes(state),
      `${this.constructor.name}: ${this.#state} -> ${state} is not a transition`,
    );
    this.#state = state;
  }
}
