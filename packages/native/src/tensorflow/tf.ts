import { availableParallelism } from "node:os";
import { ConfigProtoSchema, create, toBinary } from "@shardserve/api";
import { Semaphore, ServingError } from "@shardserve/core";
import { NativeMemory } from "../memory/native-memory.js";
import { kernels, opNames, type TfKernel } from "./tf-kernels.js";
import { openTfLibrary, type TfLibrary } from "./tf-library.js";
import { checked, endStatus, newStatus, setTfRuntime, type TfRuntime } from "./tf-runtime.js";
import { TfSession } from "./tf-session.js";

/** Of the process's one libtensorflow: its library, devices and threads. */
export interface TensorFlowOptions {
  /** Folder of libtensorflow: see {@link openTfLibrary}. */
  readonly directory: string;
  /** `gpu` fails where TensorFlow shows none; `cpu` hides them; `auto` takes what is there. Default `auto`. */
  readonly device?: "auto" | "cpu" | "gpu";
  /** Threads within one op, for all sessions; default all cores. */
  readonly intraOpThreads?: number;
  /** Threads that run ops side by side, for all sessions; default all cores. */
  readonly interOpThreads?: number;
  /**
   * Runs and loads under way at once on other threads, 1 to 128; others wait in line. Default all cores, at least 2. They
   * occupy threads of libuv's pool.
   */
  readonly concurrentRuns?: number;
  readonly gpu?: TfGpuOptions;
}

/** Which GPUs TensorFlow takes, and how much of them. */
export interface TfGpuOptions {
  /** Which GPUs to use, "0,2" of those that CUDA shows; default all. */
  readonly visibleDevices?: string;
  /** Take memory as it is needed; default true, so that several processes can share a GPU. */
  readonly isGrowthAllowed?: boolean;
  /** Share of each GPU's memory that the process may take, 0 to 1; default all. */
  readonly memoryFraction?: number;
  /** Most memory to take of each GPU, instead of a fraction. */
  readonly memoryBytesMax?: number;
}

/** A device as TensorFlow lists it. */
export interface TfDevice {
  /** "/job:localhost/replica:0/task:0/device:GPU:0" */
  readonly name: string;
  /** "CPU", "GPU" */
  readonly type: string;
  readonly memoryBytes: number;
}

/** Calls that wait for a free thread; far beyond what admission lets through. */
const ASYNC_WAITERS_MAX = 4096;

/** TensorFlow's C library, loaded once per process. */
export class TensorFlow {
  /** Devices that sessions use. */
  readonly devices: readonly TfDevice[];
  readonly #runtime: TfRuntime;
  readonly #config: Uint8Array;
  readonly #asyncRuns: Semaphore;
  readonly #kernels = new Map<string, readonly TfKernel[]>();
  #ops: ReadonlySet<string> | undefined;

  /** @internal */
  constructor(runtime: TfRuntime, config: Uint8Array, concurrentRuns: number, devices: readonly TfDevice[]) {
    this.#runtime = runtime;
    this.#config = config;
    this.#asyncRuns = new Semaphore(concurrentRuns, ASYNC_WAITERS_MAX);
    this.devices = devices;
  }

  /** "2.21.0" */
  get version(): string {
    return this.#runtime.library.version;
  }

  get libraryPath(): string {
    return this.#runtime.library.path;
  }

  /** True when sessions run on a GPU. */
  get hasGpu(): boolean {
    return this.devices.some(({ type }) => type === "GPU");
  }

  /** TensorFlow objects made and not yet released. */
  get live(): { readonly tensors: number; readonly sessions: number } {
    return { ...this.#runtime.live };
  }

  /** True when this TensorFlow knows the op at all; a graph with another cannot be imported. */
  hasOp(op: string): boolean {
    this.#ops ??= opNames(
      takeBuffer(this.#runtime.library, this.#runtime.library.functions.TF_GetAllOpList() as bigint),
    );
    return this.#ops.has(op);
  }

  /** The kernels of an op on all devices; none for an op that it does not know. */
  kernelsOf(op: string): readonly TfKernel[] {
    const known = this.#kernels.get(op);
    if (known) return known;
    const { library } = this.#runtime;
    const buffer = checked(library, `find kernels of ${op}`, (status) =>
      library.functions.TF_GetRegisteredKernelsForOp(op, status),
    );
    const found = kernels(takeBuffer(library, buffer as bigint));
    this.#kernels.set(op, found);
    return found;
  }

  /**
   * Imports a graph and makes a session for it, on another thread.
   *
   * @param graphDef  a serialised GraphDef below 2 GiB; not needed afterwards. Weights belong into variables
   * @throws ServingError in TensorFlow's words, naming the node or op
   */
  async createSession(graphDef: Uint8Array, options: { readonly signal?: AbortSignal } = {}): Promise<TfSession> {
    const { signal } = options;
    const { library } = this.#runtime;
    const calls = library.functions;
    signal?.throwIfAborted();
    const graph = calls.TF_NewGraph() as bigint;
    try {
      await this.#asyncRuns.acquire(1, signal);
      try {
        await this.#importGraph(graph, graphDef);
        const session = await newSession(library, graph, this.#config);
        return new TfSession(this.#runtime, graph, session, this.#asyncRuns);
      } finally {
        this.#asyncRuns.release();
      }
    } catch (error) {
      calls.TF_DeleteGraph(graph);
      throw error;
    }
  }

  async #importGraph(graph: bigint, graphDef: Uint8Array): Promise<void> {
    const { library } = this.#runtime;
    const calls = library.functions;
    const buffer = calls.TF_NewBufferFromString(graphDef, graphDef.length) as bigint;
    const options = calls.TF_NewImportGraphDefOptions() as bigint;
    const status = newStatus(library);
    try {
      await new Promise<void>((resolve, reject) => {
        calls.TF_GraphImportGraphDef.async(graph, buffer, options, status, (error) =>
          error ? reject(error) : resolve(),
        );
      });
    } finally {
      calls.TF_DeleteImportGraphDefOptions(options);
      calls.TF_DeleteBuffer(buffer);
    }
    endStatus(library, status, "import the graph");
  }
}

let loaded: { readonly tensorFlow: Promise<TensorFlow>; readonly options: string } | undefined;

/**
 * Loads libtensorflow, the first time; later calls return the same. From the main thread only, as loadOrt.
 *
 * @throws ServingError DEPENDENCY_MISSING when there is no usable library, or no GPU where one is wanted; CONFIG_INVALID
 *   when a later call asks for other options than the first
 */
export async function loadTensorFlow(options: TensorFlowOptions): Promise<TensorFlow> {
  const asked = JSON.stringify(options);
  if (loaded && asked !== loaded.options) {
    throw new ServingError(
      "CONFIG_INVALID",
      `TensorFlow is loaded already with ${loaded.options}; it cannot be loaded again with ${asked}`,
    );
  }
  const current = (loaded ??= { tensorFlow: open(options), options: asked });
  try {
    return await current.tensorFlow;
  } catch (error) {
    if (loaded === current) loaded = undefined; // what could not be loaded is not loaded
    throw error;
  }
}

async function open(options: TensorFlowOptions): Promise<TensorFlow> {
  const library = openTfLibrary(options.directory);
  const runtime: TfRuntime = { library, live: { tensors: 0, sessions: 0 } };
  setTfRuntime(runtime);
  const config = configOf(options);
  const devices = await listDevices(library, config);
  if (options.device === "gpu" && !devices.some(({ type }) => type === "GPU")) {
    throw new ServingError(
      "DEPENDENCY_MISSING",
      `TensorFlow ${library.version} at ${library.path} shows no GPU: its devices are ` +
        `${devices.map(({ type }) => type).join(", ") || "none"}. A GPU needs a library built with CUDA, CUDA's own ` +
        "libraries beside it, and a driver; TF_CPP_MIN_LOG_LEVEL=0 makes TensorFlow say what it misses",
    );
  }
  return new TensorFlow(runtime, config, options.concurrentRuns ?? Math.max(2, availableParallelism()), devices);
}

const MIB = 2 ** 20;

function configOf(options: TensorFlowOptions): Uint8Array {
  const { device = "auto", gpu = {} } = options;
  const limit = gpu.memoryBytesMax;
  const experimental =
    limit === undefined ? undefined : { virtualDevices: [{ memoryLimitMb: [Math.max(1, Math.floor(limit / MIB))] }] };
  return toBinary(
    ConfigProtoSchema,
    create(ConfigProtoSchema, {
      intraOpParallelismThreads: options.intraOpThreads ?? availableParallelism(),
      interOpParallelismThreads: options.interOpThreads ?? availableParallelism(),
      // Ops that a GPU has no kernel for run on the CPU, as in TensorFlow Serving.
      allowSoftPlacement: true,
      ...(device === "cpu" && { deviceCount: { GPU: 0 } }),
      gpuOptions: {
        allowGrowth: gpu.isGrowthAllowed ?? true,
        visibleDeviceList: gpu.visibleDevices ?? "",
        perProcessGpuMemoryFraction: gpu.memoryFraction ?? 0,
        ...(experimental && { experimental }),
      },
    }),
  );
}

/** Making the first session is what finds the devices: with a GPU that takes seconds, so not on this thread. */
async function newSession(library: TfLibrary, graph: bigint, config: Uint8Array): Promise<bigint> {
  const calls = library.functions;
  const options = calls.TF_NewSessionOptions() as bigint;
  try {
    checked(library, "configure a session", (status) => calls.TF_SetConfig(options, config, config.length, status));
    const status = newStatus(library);
    const session = await new Promise<bigint | number | null>((resolve, reject) => {
      calls.TF_NewSession.async(graph, options, status, (error, result) => (error ? reject(error) : resolve(result)));
    });
    endStatus(library, status, "make a session");
    return session as bigint;
  } finally {
    calls.TF_DeleteSessionOptions(options);
  }
}

async function listDevices(library: TfLibrary, config: Uint8Array): Promise<TfDevice[]> {
  const calls = library.functions;
  const graph = calls.TF_NewGraph() as bigint;
  try {
    const session = await newSession(library, graph, config);
    const list = checked(library, "list devices", (status) => calls.TF_SessionListDevices(session, status)) as bigint;
    const devices = Array.from({ length: calls.TF_DeviceListCount(list) as number }, (_, i): TfDevice => {
      const read = (call: (list: bigint, index: number, status: bigint) => unknown) =>
        checked(library, "describe a device", (status) => call(list, i, status));
      return {
        name: String(read(calls.TF_DeviceListName)),
        type: String(read(calls.TF_DeviceListType)),
        memoryBytes: Number(read(calls.TF_DeviceListMemoryBytes)),
      };
    });
    calls.TF_DeleteDeviceList(list);
    checked(library, "close a session", (status) => calls.TF_CloseSession(session, status));
    checked(library, "release a session", (status) => calls.TF_DeleteSession(session, status));
    return devices;
  } finally {
    calls.TF_DeleteGraph(graph);
  }
}

/** Copies what a TF_Buffer { const void *data; size_t length; ... } holds, and releases it. */
function takeBuffer(library: TfLibrary, buffer: bigint): Uint8Array {
  const head = new NativeMemory(buffer, 16).bytes;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const length = Number(view.getBigUint64(8, true));
  const bytes = new NativeMemory(view.getBigUint64(0, true), length).bytes.slice();
  library.functions.TF_DeleteBuffer(buffer);
  return bytes;
}
