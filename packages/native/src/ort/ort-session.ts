import { type CancelSignal, invariant, Semaphore } from "@shardserve/core";
import type { DType, Tensor } from "@shardserve/tensor";
import koffi from "koffi";
import { addressOf } from "../memory/native-memory.js";
import type { OrtLibrary } from "./ort-library.js";
import { checkStatus, type OrtRuntime, outInt, outPointer, takeText } from "./ort-runtime.js";
import { dimsOf, dtypeOfElements, elementTypeOf, OrtValue } from "./ort-value.js";

/** Sessions that are freed at once: more than 256 calls that wait for a thread are refused, and a server may drop thousands of models. */
const CLOSES = new Semaphore(2, Number.POSITIVE_INFINITY);

/** A declared input or output of a model. */
export interface ValueInfo {
  readonly name: string;
  /** "sequence" and other kinds can be listed, but not fed or fetched. */
  readonly kind: "tensor" | "other";
  /** undefined for kinds other than tensor, and for element types that tensors here do not have (float8, int4). */
  readonly dtype: DType | undefined;
  /** -1 = a dimension that only a run knows; undefined = the rank is unknown. */
  readonly shape: readonly number[] | undefined;
  /** Names of symbolic dimensions, "" where the dimension has none. */
  readonly symbols: readonly string[];
}

/** Which outputs a run gives, and where it writes them. */
export interface RunOptions {
  /** Indexes into `session.outputs`, in the order wanted; default all. */
  readonly outputs?: readonly number[];
  /** Per wanted output a value to write into, of exactly the output's dtype and shape; undefined = ORT allocates. */
  readonly into?: readonly (OrtValue | undefined)[];
}

/**
 * A loaded model. Runs may overlap; all sessions share the process's one thread pool.
 *
 * `run` works on another thread (about 80 us more than `runSync`); `runSync` blocks the event loop and is for graphs
 * that take less than 0.3 ms.
 */
export class OrtSession implements Disposable {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly #runtime: OrtRuntime;
  readonly #handle: bigint;
  readonly #asyncRuns: Semaphore;
  /** Initializers alias caller memory, so they live as long as the session. */
  readonly #initializers: readonly OrtValue[];
  readonly #names: NameTable;
  readonly #allOutputs: readonly number[];
  /** Pointer arrays of runs that are over: a fresh typed array costs more than what it carries, once C sees its memory. */
  readonly #idlePointers: RunPointers[] = [];
  #running = 0;
  #isClosed = false;

  /** @internal */
  constructor(runtime: OrtRuntime, handle: bigint, asyncRuns: Semaphore, initializers: readonly OrtValue[]) {
    this.#runtime = runtime;
    this.#handle = handle;
    this.#asyncRuns = asyncRuns;
    this.#initializers = initializers;
    for (const value of initializers) value.pin();
    runtime.live.sessions++;
    this.inputs = describeValues(runtime, handle, "Input");
    this.outputs = describeValues(runtime, handle, "Output");
    this.#names = new NameTable([...this.inputs, ...this.outputs].map((value) => value.name));
    this.#allOutputs = this.outputs.map((_, i) => i);
  }

  /**
   * Runs the model on another thread.
   *
   * @param feeds  one value per input, in the order of `inputs`; stay usable, and alive until the run is over
   * @returns the wanted outputs; the caller disposes of them (not of those given in `into`)
   * @throws ServingError ENGINE_FAILED with ORT's text; the signal's reason when it aborts: a run that has begun is
   *   told to stop at its next node and has stopped when the promise rejects
   */
  async run(
    feeds: readonly OrtValue[],
    options: RunOptions & { readonly signal?: CancelSignal | undefined } = {},
  ): Promise<OrtValue[]> {
    const { signal } = options;
    signal?.throwIfAborted();
    const call = this.#begin(feeds, options);
    try {
      await this.#asyncRuns.acquire(1, signal);
      try {
        return await this.#runAsync(call, signal);
      } finally {
        this.#asyncRuns.release();
      }
    } finally {
      this.#end(call);
    }
  }

  /** As {@link run}, on this thread. */
  runSync(feeds: readonly OrtValue[], options: RunOptions = {}): OrtValue[] {
    const call = this.#begin(feeds, options);
    try {
      const status = this.#runtime.library.functions.Run(
        this.#handle,
        null,
        this.#names.pointers,
        call.pointers.inputs,
        feeds.length,
        call.pointers.outputNames,
        call.outputs.length,
        call.pointers.outputs,
      );
      checkStatus(this.#runtime.library, status, "run the model");
      return this.#collect(call);
    } finally {
      this.#end(call);
    }
  }

  /** As {@link runSync} on tensors, copied in and out: for single runs, which need not be fast. */
  runOnTensors(inputs: readonly Tensor[]): Tensor[] {
    const feeds = inputs.map((value) => OrtValue.fromTensor(value));
    let outputs: readonly OrtValue[] = [];
    try {
      outputs = this.runSync(feeds);
      return outputs.map((value) => value.toTensor());
    } finally {
      for (const value of [...feeds, ...outputs]) value.dispose();
    }
  }

  /** Releases the model once no run uses it. A second call does nothing; a run after it is a bug. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#running === 0) this.#release();
  }

  /**
   * As {@link close}, on another thread: freeing a large model takes tens of milliseconds. Resolves when it is free, or at once
   * while a run still uses it.
   */
  async closeElsewhere(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#running > 0) return;
    await CLOSES.acquire();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#runtime.library.functions.ReleaseSession.async(this.#handle, (error) =>
          error ? reject(error) : resolve(),
        );
      });
    } finally {
      CLOSES.release();
    }
    this.#released();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #release(): void {
    this.#runtime.library.functions.ReleaseSession(this.#handle);
    this.#released();
  }

  #released(): void {
    this.#runtime.live.sessions--;
    for (const value of this.#initializers) value.unpin();
  }

  #begin(feeds: readonly OrtValue[], options: RunOptions): Call {
    invariant(!this.#isClosed, "the session is closed");
    invariant(feeds.length === this.inputs.length, () => `${feeds.length} feeds for ${this.inputs.length} inputs`);
    const outputs = options.outputs ?? this.#allOutputs;
    invariant(outputs.length <= this.outputs.length, () => `${outputs.length} outputs of ${this.outputs.length}`);
    const pointers = this.#idlePointers.pop() ?? new RunPointers(this.inputs.length, this.outputs.length);
    for (let i = 0; i < feeds.length; i++) pointers.inputs[i] = feeds[i]!.handle;
    for (let i = 0; i < outputs.length; i++) {
      pointers.outputNames[i] = this.#names.pointers[this.inputs.length + outputs[i]!]!;
      pointers.outputs[i] = options.into?.[i]?.handle ?? 0n;
    }
    for (const feed of feeds) feed.pin();
    for (const value of options.into ?? []) value?.pin();
    this.#running++;
    return { feeds, into: options.into, outputs, pointers };
  }

  #end(call: Call): void {
    for (const feed of call.feeds) feed.unpin();
    for (const value of call.into ?? []) value?.unpin();
    this.#idlePointers.push(call.pointers);
    if (--this.#running === 0 && this.#isClosed) this.#release();
  }

  async #runAsync(call: Call, signal: CancelSignal | undefined): Promise<OrtValue[]> {
    const { library } = this.#runtime;
    const { CreateRunOptions, ReleaseRunOptions, RunOptionsSetTerminate, Run } = library.functions;
    const runOptions = signal && outPointer(library, "make run options", (out) => CreateRunOptions(out));
    const onAbort = () => {
      checkStatus(library, RunOptionsSetTerminate(runOptions!), "stop a run");
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const status = await new Promise((resolve, reject) => {
        Run.async(
          this.#handle,
          runOptions ?? null,
          this.#names.pointers,
          call.pointers.inputs,
          call.feeds.length,
          call.pointers.outputNames,
          call.outputs.length,
          call.pointers.outputs,
          (error, result) => (error ? reject(error) : resolve(result)),
        );
      });
      if (status !== null && signal?.aborted) {
        library.functions.ReleaseStatus(status as bigint);
        throw signal.reason;
      }
      checkStatus(library, status, "run the model");
      return this.#collect(call);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      if (runOptions) ReleaseRunOptions(runOptions);
    }
  }

  #collect(call: Call): OrtValue[] {
    const values: OrtValue[] = [];
    try {
      for (let i = 0; i < call.outputs.length; i++) {
        const { dtype } = this.outputs[call.outputs[i]!]!;
        values.push(call.into?.[i] ?? OrtValue.adopt(this.#runtime, call.pointers.outputs[i]!, dtype));
      }
    } catch (error) {
      for (const [i, value] of values.entries()) if (call.into?.[i] !== value) value.dispose();
      for (let i = values.length + 1; i < call.outputs.length; i++) {
        if (!call.into?.[i]) this.#runtime.library.functions.ReleaseValue(call.pointers.outputs[i]!);
      }
      throw error;
    }
    return values;
  }
}

/** One run: reachable from the promise chain until it is over, as koffi's other thread reads its arrays. */
interface Call {
  readonly feeds: readonly OrtValue[];
  readonly into: readonly (OrtValue | undefined)[] | undefined;
  readonly outputs: readonly number[];
  readonly pointers: RunPointers;
}

/** The arrays of pointers that a run passes to C. */
class RunPointers {
  readonly inputs: BigUint64Array;
  readonly outputNames: BigUint64Array;
  readonly outputs: BigUint64Array;

  constructor(inputCount: number, outputCount: number) {
    this.inputs = new BigUint64Array(Math.max(inputCount, 1));
    this.outputNames = new BigUint64Array(Math.max(outputCount, 1));
    this.outputs = new BigUint64Array(Math.max(outputCount, 1));
  }
}

/** NUL-terminated names and an array of their addresses, made once per session. */
class NameTable {
  readonly pointers: BigUint64Array;
  readonly bytes: Uint8Array;

  constructor(names: readonly string[]) {
    const encoded = names.map((name) => Buffer.from(`${name}\0`));
    this.bytes = new Uint8Array(Buffer.concat(encoded));
    this.pointers = new BigUint64Array(Math.max(names.length, 1));
    const base = addressOf(this.bytes);
    let at = 0;
    for (const [i, name] of encoded.entries()) {
      this.pointers[i] = base + BigInt(at);
      at += name.length;
    }
  }
}

function describeValues(runtime: OrtRuntime, session: bigint, side: "Input" | "Output"): ValueInfo[] {
  const { library } = runtime;
  const countOf = library.functions[`SessionGet${side}Count`];
  const nameOf = library.functions[`SessionGet${side}Name`];
  const typeOf = library.functions[`SessionGet${side}TypeInfo`];
  const count = Number(outPointer(library, "count values", (out) => countOf(session, out)));
  return Array.from({ length: count }, (_, i) => {
    const name = takeText(
      runtime,
      outPointer(library, "read a name", (out) => nameOf(session, i, runtime.allocator, out)),
    );
    const type = outPointer(library, "read a type", (out) => typeOf(session, i, out));
    try {
      return describeType(runtime, name, type);
    } finally {
      library.functions.ReleaseTypeInfo(type);
    }
  });
}

function describeType(runtime: OrtRuntime, name: string, type: bigint): ValueInfo {
  const { library } = runtime;
  const { GetOnnxTypeFromTypeInfo, CastTypeInfoToTensorInfo, GetSymbolicDimensions } = library.functions;
  const kind = outInt(library, "read a kind", (out) => GetOnnxTypeFromTypeInfo(type, out));
  if (kind !== 1) return { name, kind: "other", dtype: undefined, shape: undefined, symbols: [] };
  // The tensor info belongs to the type info: not released on its own.
  const info = outPointer(library, "read a tensor type", (out) => CastTypeInfoToTensorInfo(type, out));
  const dtype = dtypeOfElements(elementTypeOf(runtime, info));
  if (!hasShape(library, info)) return { name, kind: "tensor", dtype, shape: undefined, symbols: [] };
  const shape = dimsOf(runtime, info);
  const pointers = new BigUint64Array(Math.max(shape.length, 1));
  if (shape.length > 0) {
    checkStatus(library, GetSymbolicDimensions(info, pointers, shape.length), "read dimension names");
  }
  const symbols = shape.map((_, i) => koffi.decode(pointers[i]!, "char", -1) as string);
  return { name, kind: "tensor", dtype, shape, symbols };
}

/** Libraries too old to tell say that every tensor has a shape; an unknown rank then reads as a scalar. */
function hasShape(library: OrtLibrary, info: bigint): boolean {
  const { TensorTypeAndShape_HasShape } = library.functions as Partial<OrtLibrary["functions"]>;
  return TensorTypeAndShape_HasShape === undefined || Boolean(TensorTypeAndShape_HasShape(info));
}
