import { type Clock, Semaphore, ServingError } from "@shardserve/core";
import { GraphDefSchema, toBinary } from "@shardserve/api";
import { type Signature, type SignatureTensor, refKey, type WholeGraph } from "@shardserve/graph";
import { type TensorFlow, type TfCallable, type TfOutput, type TfSession, TfTensor } from "@shardserve/native";
import type { RunResult } from "@shardserve/servable";
import { elementCount, strings, type Tensor } from "@shardserve/tensor";
import type { PlanRunOptions } from "./steps/bound-plan.js";
import type { Checkpoint } from "./load/checkpoint.js";
import { RunPace } from "./steps/run-pace.js";

/** Kernels that TensorFlow registers for these devices can run here. */
const DEVICES = new Set(["CPU", "GPU", "DEFAULT"]);
/** Keras puts a branch with these beside the plain one, and TensorFlow takes it only on a GPU. */
const OTHER_BRANCH = /^Cudnn/;
/** Graphs with these are never run on the event loop, however quick they were so far. */
const UNBOUNDED = /While|Enter|Queue|Barrier|Stage|PyFunc|Iterator|Dataset/;
/** Values assigned in one run while loading, in bytes: more would be twice in memory for longer. */
const RESTORED_BYTES_MAX = 256 * 2 ** 20;

/** What keeps TensorFlow from running a graph as it stands, in words; [] = nothing. */
export function wholeObstacles({ ops, writes }: WholeGraph, tensorFlow: TensorFlow): string[] {
  const lacking = [...ops].flatMap(([op, node]) => {
    if (!tensorFlow.hasOp(op)) return [`op ${op} of node "${node}" is unknown to TensorFlow ${tensorFlow.version}`];
    if (OTHER_BRANCH.test(op) || tensorFlow.kernelsOf(op).some(({ device }) => DEVICES.has(device))) return [];
    return [`op ${op} of node "${node}" has no kernel in TensorFlow ${tensorFlow.version}`];
  });
  // A variable would share the memory of the request's strings, which ends with the request.
  const kept = [...writes].filter(([, dtype]) => dtype === "string").map(([node]) => `node "${node}" keeps strings`);
  return [...lacking, ...kept];
}

/**
 * A MetaGraph in one TensorFlow session: signatures are sets of feeds and fetches of it.
 */
export class WholeModel {
  readonly #session: TfSession;
  readonly #graph: WholeGraph;

  private constructor(session: TfSession, graph: WholeGraph) {
    this.#session = session;
    this.#graph = graph;
  }

  /** Imports the graph, gives variables and tables their values from the checkpoint, and runs the init op. */
  static async open(
    graph: WholeGraph,
    tensorFlow: TensorFlow,
    checkpoint: Checkpoint,
    signal: AbortSignal | undefined,
  ): Promise<WholeModel> {
    const bytes = toBinary(GraphDefSchema, graph.graphDef);
    const model = new WholeModel(await tensorFlow.createSession(bytes, { ...(signal && { signal }) }), graph);
    try {
      await model.#restore(checkpoint, signal);
      await model.#initialise(signal);
      return model;
    } catch (error) {
      model.close();
      throw error;
    }
  }

  /** @throws ServingError GRAPH_INVALID when the signature names what the graph does not have */
  runner(signature: Signature, context: WholeRunContext): WholeRunner {
    const isStateful = this.#graph.writes.size > 0;
    const isUnbounded = [...this.#graph.ops.keys()].some((op) => UNBOUNDED.test(op));
    return new WholeRunner(this.#session, signature, { ...context, isStateful, isUnbounded });
  }

  close(): void {
    this.#session.close();
  }

  async #restore(checkpoint: Checkpoint, signal: AbortSignal | undefined): Promise<void> {
    const batch = new RestoreBatch(this.#session);
    // A graph that writes its variables does so in place: it gets copies, not the mapped file.
    const isMapped = this.#graph.writes.size === 0;
    for (const { binding, feed, target } of this.#graph.variables) {
      const { checkpointKey, slice } = binding;
      const box = slice && { start: slice.start, length: slice.shape };
      const mapped = isMapped ? checkpoint.mapped(checkpointKey, box) : undefined;
      const value = mapped
        ? TfTensor.overMemory(mapped.dtype, mapped.shape, mapped.memory)
        : TfTensor.fromTensor(await checkpoint.readOnce(checkpointKey, box));
      batch.add([[feed, value]], target);
      if (batch.bytes > RESTORED_BYTES_MAX) await batch.run(signal);
    }
    for (const { binding, keys, values, target } of this.#graph.tables) {
      const pair = [await checkpoint.readOnce(binding.keys), await checkpoint.readOnce(binding.values)] as const;
      batch.add(
        [
          [keys, TfTensor.fromTensor(pair[0])],
          [values, TfTensor.fromTensor(pair[1])],
        ],
        target,
      );
    }
    await batch.run(signal);
    await checkpoint.verifyInPlace(signal);
  }

  async #initialise(signal: AbortSignal | undefined): Promise<void> {
    const { initOp, assets } = this.#graph;
    if (initOp === undefined) return;
    const batch = new RestoreBatch(this.#session);
    batch.add(
      assets.map(({ feed, path }) => [feed, TfTensor.fromTensor(strings([], [path]))] as const),
      initOp,
    );
    await batch.run(signal);
  }
}

/** Values on their way into a session's variables; they live as long as the session, which goes on using their memory. */
class RestoreBatch {
  readonly #session: TfSession;
  readonly #feeds: TfOutput[] = [];
  readonly #values: TfTensor[] = [];
  readonly #targets: string[] = [];
  #bytes = 0;

  constructor(session: TfSession) {
    this.#session = session;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(feeds: readonly (readonly [TfOutput, TfTensor])[], target: string): void {
    for (const [feed, value] of feeds) {
      this.#feeds.push(feed);
      this.#values.push(value);
      this.#bytes += value.dtype === "string" ? 0 : value.memory().byteLength;
    }
    this.#targets.push(target);
  }

  async run(signal: AbortSignal | undefined): Promise<void> {
    if (this.#targets.length === 0) return;
    this.#session.keep(this.#values);
    await this.#session.callable(this.#feeds, [], this.#targets).run(this.#values, { signal });
    for (const list of [this.#feeds, this.#values, this.#targets]) list.length = 0;
    this.#bytes = 0;
  }
}

export interface WholeRunContext {
  readonly clock: Clock;
  readonly runs: Semaphore;
  /** One run at a time over what requests change. */
  readonly stateLock: Semaphore;
}

/** Sets of outputs come from requests: no more than this many are remembered. */
const CALLABLES_MAX = 64;

/** Runs one signature in the model's session. */
class WholeRunner {
  readonly #session: TfSession;
  readonly #signature: Signature;
  readonly #context: WholeRunContext & { readonly isStateful: boolean; readonly isUnbounded: boolean };
  /** One feed per distinct tensor: aliases may share one. */
  readonly #feeds: readonly SignatureTensor[];
  readonly #callables = new Map<string, TfCallable>();
  readonly #pace = new RunPace();

  /** @internal */
  constructor(
    session: TfSession,
    signature: Signature,
    context: WholeRunContext & { readonly isStateful: boolean; readonly isUnbounded: boolean },
  ) {
    this.#session = session;
    this.#signature = signature;
    this.#context = context;
    this.#feeds = [...new Map(signature.inputs.map((input) => [refKey(input.ref), input])).values()];
    this.#callable(signature.outputs.map(({ alias }) => alias));
  }

  async run(inputs: ReadonlyMap<string, Tensor>, options: PlanRunOptions): Promise<RunResult> {
    const { stateLock, isStateful } = this.#context;
    if (!isStateful) return this.#run(inputs, options);
    await stateLock.acquire(1, options.signal);
    try {
      return await this.#run(inputs, options);
    } finally {
      stateLock.release();
    }
  }

  async #run(inputs: ReadonlyMap<string, Tensor>, options: PlanRunOptions): Promise<RunResult> {
    const wanted = options.outputs ?? this.#signature.outputs.map(({ alias }) => alias);
    const callable = this.#callable(wanted);
    for (const { alias } of this.#signature.inputs) this.#input(alias, inputs);
    const startMs = this.#context.clock.nowMs();
    const feeds: TfTensor[] = [];
    let results: TfTensor[] = [];
    try {
      let size = 1;
      for (const { alias } of this.#feeds) {
        const value = this.#input(alias, inputs);
        size += elementCount(value.shape);
        feeds.push(TfTensor.fromTensor(value));
      }
      results = await this.#call(callable, feeds, size, options);
      const outputs = new Map<string, Tensor>();
      for (let i = 0; i < wanted.length; i++) outputs.set(wanted[i]!, results[i]!.toTensor());
      const deviceMs = this.#context.clock.nowMs() - startMs;
      return { outputs, timings: { hostMs: 0, lookupMs: 0, deviceMs } };
    } finally {
      for (const value of feeds) value.dispose();
      for (const value of results) value.dispose();
    }
  }

  async #call(
    callable: TfCallable,
    feeds: readonly TfTensor[],
    size: number,
    { signal, deadlineMs, isAlone }: PlanRunOptions,
  ): Promise<TfTensor[]> {
    const { clock, runs, isUnbounded } = this.#context;
    if (!isUnbounded && this.#pace.isQuick(size, isAlone)) {
      const startMs = clock.nowMs();
      const results = callable.runSync(feeds);
      this.#pace.ranSync(size, clock.nowMs() - startMs);
      return results;
    }
    await runs.acquire(1, signal);
    try {
      const startMs = clock.nowMs();
      const results = await callable.run(feeds, {
        signal,
        timeoutMs: deadlineMs === undefined ? undefined : deadlineMs - startMs,
      });
      this.#pace.ranAsync(size, clock.nowMs() - startMs);
      return results;
    } finally {
      runs.release();
    }
  }

  #input(alias: string, inputs: ReadonlyMap<string, Tensor>): Tensor {
    const value = inputs.get(alias);
    if (value) return value;
    throw new ServingError("INVALID_ARGUMENT", `signature "${this.#signature.name}" needs input "${alias}"`);
  }

  #callable(aliases: readonly string[]): TfCallable {
    const key = aliases.join("\0");
    const known = this.#callables.get(key);
    if (known) return known;
    const fetches = aliases.map((alias): TfOutput => {
      const output = this.#signature.outputs.find((candidate) => candidate.alias === alias);
      if (output) return output.ref;
      throw new ServingError("INVALID_ARGUMENT", `signature "${this.#signature.name}" has no output "${alias}"`);
    });
    const callable = this.#session.callable(
      this.#feeds.map(({ ref }) => ref),
      fetches,
    );
    if (this.#callables.size < CALLABLES_MAX) this.#callables.set(key, callable);
    return callable;
  }
}
