import { availableParallelism } from "node:os";
import { Semaphore, ServingError } from "@shardserve/core";
import { LoadThread, type SessionAnswer } from "../memory/load-thread.js";
import {
  appendGpu,
  ORT_GPU_PROVIDERS,
  type OrtGpu,
  type OrtGpuOptions,
  type OrtGpuProvider,
  probeGpu,
} from "./ort-gpu.js";
import { bundledLibraryPath, type OrtLibrary, openOrtLibrary } from "./ort-library.js";
import { checkStatus, type OrtRuntime, outPointer, setOrtRuntime } from "./ort-runtime.js";
import { OrtSession } from "./ort-session.js";
import type { OrtValue } from "./ort-value.js";

/** Of the process's one ONNX Runtime: its library and its threads. */
export interface OrtOptions {
  /** A libonnxruntime 1.17 or newer; default the one inside the onnxruntime-node package. The CLI reads SHARDSERVE_ORT. */
  readonly libraryPath?: string;
  /** Threads of the one pool that all sessions share, the calling thread included; default all cores. */
  readonly intraOpThreads?: number;
  /**
   * Runs and loads under way at once on other threads, 1 to 128; others wait in line. Default all cores, at least 2. They
   * occupy threads of libuv's pool, which files and names need too: UV_THREADPOOL_SIZE should be this plus 4.
   */
  readonly concurrentRuns?: number;
}

/** What ONNX Runtime prints on stderr: ORT_LOGGING_LEVEL_FATAL, since failures come back as errors anyway. */
const LOGGING_LEVEL = 4;
/**
 * ORT plans no reuse of memory for its parallel execution, and has no other switch for that. Nothing runs in parallel: the
 * environment has one thread for operators side by side.
 */
const EXECUTION_PARALLEL = 1;

const OPTIMIZATION = { disabled: 0, basic: 1, extended: 2, all: 99 } as const;

/** How one model is loaded. */
export interface SessionOptions {
  /**
   * Values for initializers of the model by name, aliased, not copied: many sessions may share one mapping. The model
   * holds just their type and shape. They must not change while the session lives.
   */
  readonly initializers?: ReadonlyMap<string, OrtValue>;
  /** How far ORT rewrites the graph; default "all". */
  readonly optimization?: keyof typeof OPTIMIZATION;
  /**
   * Whether ORT may keep its own copy of weights in the layout that its kernels like best; default true. Off, shared
   * weights stay shared and the first run starts sooner, but large matrix products are slower.
   */
  readonly prepacking?: boolean;
  /**
   * Runs on the calling thread alone, without the shared pool; default false. For runs so short that handing a part to another
   * thread, and waiting until that has had its turn, costs more than the part.
   */
  readonly isSingleThreaded?: boolean;
  /** Whether freed output memory is kept for the next run; default true. */
  readonly arena?: boolean;
  /**
   * Whether runs of known shapes take all memory for what lies between the nodes in one piece, which the second run of the same shapes
   * allocates; default true. Off, it is taken and given back node by node, which costs small models a few percent, and large ones less
   * memory by a third.
   */
  readonly memoryPattern?: boolean;
  /**
   * Whether values are planned into the memory of earlier ones of the same size; default true. The plan looks for such a one among all earlier
   * values, so that it takes time with the square of their number. Off, each value gets memory when it is made and gives it back
   * after its last reader. For sessions on the CPU.
   */
  readonly memoryReuse?: boolean;
  /** Where the session's ops run if they can; the others run on the CPU. Default the CPU. Found by {@link Ort.findGpu}. */
  readonly gpu?: OrtGpu | undefined;
  /** Load behind whatever else the machine does: on a thread of low priority, one model after another. Default false. */
  readonly isInBackground?: boolean;
  /** Further ORT session settings ("session.xyz" -> "1"). */
  readonly config?: Readonly<Record<string, string>>;
}

/** Calls that wait for a free thread; far beyond what admission lets through. */
const ASYNC_WAITERS_MAX = 4096;

/** ONNX Runtime, loaded once per process. */
export class Ort {
  readonly #runtime: OrtRuntime;
  /** Keeps the environment, and with it the global thread pool, for the life of the process. */
  readonly #environment: bigint;
  readonly #asyncRuns: Semaphore;
  /** Models being read on another thread: reachable meanwhile, whatever their owners do. */
  readonly #loading = new Set<Uint8Array>();
  /** What the heavy parts of loads are given to while requests are answered. */
  readonly loadThread = new LoadThread();
  #gpu: OrtGpu | undefined;

  /** @internal */
  constructor(runtime: OrtRuntime, environment: bigint, concurrentRuns: number) {
    this.#runtime = runtime;
    this.#environment = environment;
    this.#asyncRuns = new Semaphore(concurrentRuns, ASYNC_WAITERS_MAX);
  }

  /** "1.30.0" */
  get version(): string {
    return this.#runtime.library.version;
  }

  get libraryPath(): string {
    return this.#runtime.library.path;
  }

  /** The GPU that sessions may use; undefined before {@link findGpu}. */
  get gpu(): OrtGpu | undefined {
    return this.#gpu;
  }

  /**
   * Finds a GPU by computing something on it: with the CUDA provider where its libraries lie beside ONNX Runtime, else with
   * WebGPU, which needs Vulkan.
   *
   * @param providers  what to try, in order
   * @throws ServingError DEPENDENCY_MISSING saying why neither works
   */
  async findGpu(
    providers: readonly OrtGpuProvider[] = ORT_GPU_PROVIDERS,
    options: OrtGpuOptions = {},
  ): Promise<OrtGpu> {
    this.#gpu = await probeGpu(this, providers, options);
    return this.#gpu;
  }

  /** ORT objects made and not yet released. */
  get live(): { readonly values: number; readonly sessions: number } {
    return { ...this.#runtime.live };
  }

  /**
   * Loads a model on another thread.
   *
   * @param model  bytes of an ONNX ModelProto (opset <= 26, IR <= 13 with ORT 1.30); not needed afterwards
   * @throws ServingError ENGINE_FAILED with ORT's text
   */
  async createSession(
    model: Uint8Array,
    options: SessionOptions & { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<OrtSession> {
    const { library } = this.#runtime;
    const { signal, isInBackground = false } = options;
    signal?.throwIfAborted();
    const settings = this.#settings(options);
    const onAbort = () => {
      // Newer libraries stop loading; with others the load goes on and its result is dropped.
      const calls = library.functions as Partial<OrtLibrary["functions"]>;
      const status = calls.SessionOptionsSetLoadCancellationFlag?.(settings, 1) ?? null;
      checkStatus(library, status, "stop a load");
    };
    try {
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#loading.add(model);
      const { status, session } = await (isInBackground
        ? this.loadThread.createSession(library.path, this.#environment, model, settings)
        : this.#load(model, settings, signal));
      if (signal?.aborted) {
        if (status !== null) library.functions.ReleaseStatus(status);
        else library.functions.ReleaseSession(session);
        throw signal.reason;
      }
      checkStatus(library, status, "load the model");
      return this.#session(session, options);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#loading.delete(model);
      library.functions.ReleaseSessionOptions(settings);
    }
  }

  /** As {@link createSession}, on this thread: for models of a few nodes. */
  createSessionSync(model: Uint8Array, options: SessionOptions = {}): OrtSession {
    const { library } = this.#runtime;
    const settings = this.#settings(options);
    try {
      const handle = outPointer(library, "load the model", (out) =>
        library.functions.CreateSessionFromArray(this.#environment, model, model.byteLength, settings, out),
      );
      return this.#session(handle, options);
    } finally {
      library.functions.ReleaseSessionOptions(settings);
    }
  }

  /** CreateSessionFromArray on a thread of libuv's pool. */
  async #load(model: Uint8Array, settings: bigint, signal: AbortSignal | undefined): Promise<SessionAnswer> {
    const out = new BigUint64Array(1);
    await this.#asyncRuns.acquire(1, signal);
    try {
      const status = await new Promise<bigint | null>((resolve, reject) => {
        this.#runtime.library.functions.CreateSessionFromArray.async(
          this.#environment,
          model,
          model.byteLength,
          settings,
          out,
          (error, result) => (error ? reject(error) : resolve(result as bigint | null)),
        );
      });
      return { status, session: out[0]! };
    } finally {
      this.#asyncRuns.release();
    }
  }

  #session(handle: bigint, options: SessionOptions): OrtSession {
    return new OrtSession(this.#runtime, handle, this.#asyncRuns, [...(options.initializers?.values() ?? [])]);
  }

  /** An OrtSessionOptions that the caller releases. */
  #settings(options: SessionOptions): bigint {
    const { library } = this.#runtime;
    const calls = library.functions;
    const settings = outPointer(library, "make session options", (out) => calls.CreateSessionOptions(out));
    try {
      const check = (status: unknown) => checkStatus(library, status, "set a session option");
      if (options.isSingleThreaded) check(calls.SetIntraOpNumThreads(settings, 1));
      else check(calls.DisablePerSessionThreads(settings));
      check(calls.SetSessionGraphOptimizationLevel(settings, OPTIMIZATION[options.optimization ?? "all"]));
      if (options.arena === false) check(calls.DisableCpuMemArena(settings));
      if (options.memoryReuse === false) check(calls.SetSessionExecutionMode(settings, EXECUTION_PARALLEL));
      if (options.memoryPattern === false) check(calls.DisableMemPattern(settings));
      const config = { ...(options.prepacking === false && { "session.disable_prepacking": "1" }), ...options.config };
      for (const [key, value] of Object.entries(config)) check(calls.AddSessionConfigEntry(settings, key, value));
      if (options.gpu) appendGpu(library, settings, options.gpu);
      for (const [name, value] of options.initializers ?? []) {
        check(calls.AddInitializer(settings, name, value.handle));
      }
      return settings;
    } catch (error) {
      calls.ReleaseSessionOptions(settings);
      throw error;
    }
  }
}

let loaded: { readonly ort: Ort; readonly options: string } | undefined;

/**
 * Loads ONNX Runtime, the first time; later calls return the same. From the main thread only: what is made here belongs to it.
 *
 * @throws ServingError DEPENDENCY_MISSING when there is no usable library; CONFIG_INVALID when a later call asks for
 *   other options than the first
 */
export function loadOrt(options: OrtOptions = {}): Ort {
  if (loaded) {
    if (Object.keys(options).length > 0 && JSON.stringify(options) !== loaded.options) {
      throw new ServingError(
        "CONFIG_INVALID",
        `ONNX Runtime is loaded already with ${loaded.options}; it cannot be loaded again with ${JSON.stringify(options)}`,
      );
    }
    return loaded.ort;
  }
  const library = openOrtLibrary(options.libraryPath ?? bundledLibraryPath());
  const environment = createEnvironment(library, options);
  const runtime: OrtRuntime = {
    library,
    allocator: outPointer(library, "find the allocator", (out) =>
      library.functions.GetAllocatorWithDefaultOptions(out),
    ),
    cpuMemory: outPointer(library, "describe memory", (out) => library.functions.CreateCpuMemoryInfo(1, 0, out)),
    live: { values: 0, sessions: 0 },
  };
  setOrtRuntime(runtime);
  loaded = {
    ort: new Ort(runtime, environment, options.concurrentRuns ?? Math.max(2, availableParallelism())),
    options: JSON.stringify(options),
  };
  return loaded.ort;
}

/** An environment with one thread pool for all sessions, whose idle threads sleep instead of spinning. */
function createEnvironment(library: OrtLibrary, options: OrtOptions): bigint {
  const calls = library.functions;
  const threading = outPointer(library, "make threading options", (out) => calls.CreateThreadingOptions(out));
  try {
    const check = (status: unknown) => checkStatus(library, status, "set a threading option");
    check(calls.SetGlobalIntraOpNumThreads(threading, options.intraOpThreads ?? availableParallelism()));
    check(calls.SetGlobalInterOpNumThreads(threading, 1));
    check(calls.SetGlobalSpinControl(threading, 0));
    return outPointer(library, "start", (out) =>
      calls.CreateEnvWithGlobalThreadPools(LOGGING_LEVEL, "shardserve", threading, out),
    );
  } finally {
    calls.ReleaseThreadingOptions(threading);
  }
}
