import { create, RunOptionsSchema, toBinary } from "@shardserve/api";
import { type CancelSignal, invariant, type Semaphore, ServingError } from "@shardserve/core";
import type { TfRuntime } from "./tf-runtime.js";
import { checked, endStatus, newStatus } from "./tf-runtime.js";
import { TfTensor } from "./tf-tensor.js";

/** Output `index` of a node. */
export interface TfOutput {
  readonly node: string;
  readonly index: number;
}

/** What ends a run early. */
export interface TfRunOptions {
  readonly signal?: CancelSignal | undefined;
  /** TensorFlow stops the run after this time with DEADLINE_EXCEEDED; it has no other way to stop one. */
  readonly timeoutMs?: number | undefined;
}

/**
 * A graph and its session. Runs may overlap; all sessions of the process share TensorFlow's thread pools.
 */
export class TfSession implements Disposable {
  readonly #runtime: TfRuntime;
  readonly #graph: bigint;
  readonly #session: bigint;
  readonly #asyncRuns: Semaphore;
  /** What variables of the session alias. */
  readonly #kept: TfTensor[] = [];
  #running = 0;
  #isClosed = false;

  /** @internal */
  constructor(runtime: TfRuntime, graph: bigint, session: bigint, asyncRuns: Semaphore) {
    this.#runtime = runtime;
    this.#graph = graph;
    this.#session = session;
    this.#asyncRuns = asyncRuns;
    runtime.live.sessions++;
  }

  /**
   * What to feed and fetch, resolved once.
   *
   * @param targets  nodes to run without fetching anything
   * @throws ServingError GRAPH_INVALID naming the node that the graph does not have
   */
  callable(feeds: readonly TfOutput[], fetches: readonly TfOutput[], targets: readonly string[] = []): TfCallable {
    const cells = new BigUint64Array(Math.max(targets.length, 1));
    for (const [i, name] of targets.entries()) cells[i] = this.#operation(name);
    return new TfCallable(this, this.#runtime, this.#outputs(feeds), this.#outputs(fetches), {
      feeds: feeds.length,
      fetches: fetches.length,
      targets: targets.length,
      targetCells: cells,
    });
  }

  /** Keeps tensors until the session is closed: a variable that was assigned one goes on using its memory. */
  keep(tensors: readonly TfTensor[]): void {
    this.#kept.push(...tensors);
  }

  /** Releases graph and variables once no run uses them. A second call does nothing; a run after it is a bug. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#running === 0) this.#release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  begin(): { readonly session: bigint; readonly asyncRuns: Semaphore } {
    invariant(!this.#isClosed, "the session is closed");
    this.#running++;
    return { session: this.#session, asyncRuns: this.#asyncRuns };
  }

  /** @internal */
  end(): void {
    if (--this.#running === 0 && this.#isClosed) this.#release();
  }

  #release(): void {
    const { library, live } = this.#runtime;
    const { TF_CloseSession, TF_DeleteSession, TF_DeleteGraph } = library.functions;
    checked(library, "close a session", (status) => TF_CloseSession(this.#session, status));
    checked(library, "release a session", (status) => TF_DeleteSession(this.#session, status));
    TF_DeleteGraph(this.#graph);
    for (const tensor of this.#kept) tensor.dispose();
    live.sessions--;
  }

  #operation(name: string): bigint {
    const operation = this.#runtime.library.functions.TF_GraphOperationByName(this.#graph, name);
    if (typeof operation === "bigint") return operation;
    throw new ServingError("GRAPH_INVALID", `the graph refers to node "${name}", which it does not have`);
  }

  /** TF_Output { TF_Operation *oper; int index; } per element. */
  #outputs(refs: readonly TfOutput[]): BigUint64Array {
    const cells = new BigUint64Array(Math.max(refs.length, 1) * 2);
    for (const [i, { node, index }] of refs.entries()) {
      const operation = this.#operation(node);
      const count = this.#runtime.library.functions.TF_OperationNumOutputs(operation) as number;
      if (index >= count) {
        throw new ServingError("GRAPH_INVALID", `output ${index} of node "${node}" is wanted, which has ${count}`);
      }
      cells[2 * i] = operation;
      cells[2 * i + 1] = BigInt(index);
    }
    return cells;
  }
}

interface Counts {
  readonly feeds: number;
  readonly fetches: number;
  readonly targets: number;
  readonly targetCells: BigUint64Array;
}

/** One set of feeds and fetches of a session, ready to run. */
export class TfCallable {
  readonly #session: TfSession;
  readonly #runtime: TfRuntime;
  readonly #inputs: BigUint64Array;
  readonly #outputs: BigUint64Array;
  readonly #counts: Counts;

  /** @internal */
  constructor(session: TfSession, runtime: TfRuntime, inputs: BigUint64Array, outputs: BigUint64Array, counts: Counts) {
    this.#session = session;
    this.#runtime = runtime;
    this.#inputs = inputs;
    this.#outputs = outputs;
    this.#counts = counts;
  }

  /**
   * Runs on another thread.
   *
   * @param feeds  one value per feed, in order; stay usable, and alive until the run is over
   * @returns the fetched values; the caller disposes of them
   * @throws ServingError in TensorFlow's words; the signal's reason when it aborts: TensorFlow has no way to stop a run
   *   but `timeoutMs`, and what it reads must stay until it is done, so a run that has begun ends first
   */
  async run(feeds: readonly TfTensor[], options: TfRunOptions = {}): Promise<TfTensor[]> {
    const { signal, timeoutMs } = options;
    signal?.throwIfAborted();
    const call = this.#begin(feeds);
    const { session, asyncRuns } = this.#session.begin();
    try {
      await asyncRuns.acquire(1, signal);
      try {
        const values = await this.#runAsync(session, call, timeoutMs);
        if (!signal?.aborted) return values;
        for (const value of values) value.dispose();
        throw signal.reason;
      } finally {
        asyncRuns.release();
      }
    } finally {
      this.#end(call);
    }
  }

  /** As {@link run}, on this thread: for graphs that take less than 0.3 ms. */
  runSync(feeds: readonly TfTensor[]): TfTensor[] {
    const call = this.#begin(feeds);
    const { session } = this.#session.begin();
    try {
      checked(this.#runtime.library, "run the graph", (status) =>
        this.#runtime.library.functions.TF_SessionRun(...this.#arguments(session, null, call, status)),
      );
      return this.#collect(call);
    } finally {
      this.#end(call);
    }
  }

  #begin(feeds: readonly TfTensor[]): Call {
    invariant(feeds.length === this.#counts.feeds, `${feeds.length} values for ${this.#counts.feeds} feeds`);
    const values = new BigUint64Array(Math.max(feeds.length, 1));
    for (let i = 0; i < feeds.length; i++) {
      feeds[i]!.pin();
      values[i] = feeds[i]!.handle;
    }
    return { feeds, values, results: new BigUint64Array(Math.max(this.#counts.fetches, 1)) };
  }

  #end(call: Call): void {
    for (const feed of call.feeds) feed.unpin();
    this.#session.end();
  }

  async #runAsync(session: bigint, call: Call, timeoutMs: number | undefined): Promise<TfTensor[]> {
    const { library } = this.#runtime;
    const { TF_SessionRun, TF_NewBufferFromString, TF_DeleteBuffer } = library.functions;
    const status = newStatus(library);
    let options: bigint | null = null;
    if (timeoutMs !== undefined && Number.isFinite(timeoutMs)) {
      const timeoutInMs = BigInt(Math.max(1, Math.ceil(timeoutMs)));
      const bytes = toBinary(RunOptionsSchema, create(RunOptionsSchema, { timeoutInMs }));
      options = TF_NewBufferFromString(bytes, bytes.length) as bigint;
    }
    try {
      await new Promise<void>((resolve, reject) => {
        TF_SessionRun.async(...this.#arguments(session, options, call, status), (error) =>
          error ? reject(error) : resolve(),
        );
      });
    } finally {
      if (options !== null) TF_DeleteBuffer(options);
    }
    endStatus(library, status, "run the graph");
    return this.#collect(call);
  }

  #arguments(session: bigint, options: bigint | null, call: Call, status: bigint) {
    const { feeds, fetches, targets, targetCells } = this.#counts;
    return [
      session,
      options,
      this.#inputs,
      call.values,
      feeds,
      this.#outputs,
      call.results,
      fetches,
      targetCells,
      targets,
      null,
      status,
    ] as const;
  }

  #collect(call: Call): TfTensor[] {
    const values: TfTensor[] = [];
    for (let i = 0; i < this.#counts.fetches; i++) {
      try {
        values.push(TfTensor.adopt(this.#runtime, call.results[i]!));
      } catch (error) {
        for (const value of values) value.dispose();
        const { TF_DeleteTensor } = this.#runtime.library.functions;
        for (let rest = i + 1; rest < this.#counts.fetches; rest++) TF_DeleteTensor(call.results[rest]!);
        throw error;
      }
    }
    return values;
  }
}

/** One run's arrays: reachable from the promise chain until the run is over, as koffi's other thread reads them. */
interface Call {
  readonly feeds: readonly TfTensor[];
  readonly values: BigUint64Array;
  readonly results: BigUint64Array;
}
