import type { CancelSignal, TraceParent } from "@shardserve/core";
import type { RunResult, ServableHandle, SignatureInfo } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";

/** Memory that is counted as long as somebody may read it. */
export interface PinnedMemory {
  pin(): void;
  unpin(): void;
}

export interface BatchRequest {
  /** Pins the version; stays the caller's to release. */
  readonly handle: ServableHandle;
  readonly signature: SignatureInfo;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: readonly string[] | undefined;
  readonly signal: CancelSignal;
  readonly deadlineMs: number | undefined;
  /** Of the inputs: a run that outlives its caller pins it. Absent = it is not counted. */
  readonly memory?: PinnedMemory;
  /** Its rows are to be told from others': it is not joined. */
  readonly isExplained?: boolean;
  /** Absent = it is not traced. Of the requests of a joined run one is traced into other processes. */
  readonly traceParent?: TraceParent | undefined;
}

export interface BatchResult extends RunResult {
  /** Time between arrival and the start of the run. */
  readonly queueMs: number;
}

/** A request in the queue or in a joined run. */
export class Member {
  readonly request: BatchRequest;
  readonly rows: number;
  readonly queuedAtMs: number;
  readonly result: Promise<BatchResult>;
  readonly #abort = () => this.fail(this.request.signal.reason as Error);
  #resolve!: (result: BatchResult) => void;
  #reject!: (error: Error) => void;
  #onSettled: (() => void) | null = null;
  isSettled = false;

  constructor(request: BatchRequest, rows: number, queuedAtMs: number) {
    this.request = request;
    this.rows = rows;
    this.queuedAtMs = queuedAtMs;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    request.signal.addEventListener("abort", this.#abort, { once: true });
  }

  /** Replaces what is called when the member is settled, also when it aborts; null = nothing. */
  onSettled(callback: (() => void) | null): void {
    this.#onSettled = callback;
  }

  succeed(result: BatchResult): void {
    if (this.#settle()) this.#resolve(result);
  }

  fail(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }

  #settle(): boolean {
    if (this.isSettled) return false;
    this.isSettled = true;
    this.request.signal.removeEventListener("abort", this.#abort);
    this.#onSettled?.();
    return true;
  }
}
