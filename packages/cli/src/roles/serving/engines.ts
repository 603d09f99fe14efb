import { availableParallelism } from "node:os";
import { type Logger, ServingError } from "@shardserve/core";
import { type EngineChoice, TrafficPace } from "@shardserve/engine";
import {
  installedTensorFlow,
  loadOrt,
  loadTensorFlow,
  ORT_GPU_PROVIDERS,
  type Ort,
  type TensorFlow,
} from "@shardserve/native";
import { type FlagValues, flag } from "../../flags.js";

/** What runs the numeric parts of models. */
export const ENGINE_FLAGS = {
  engine: flag.oneOf(
    "what runs models; auto: TensorFlow where it has a GPU, else ONNX Runtime, and the other for a model that one cannot run",
    ["auto", "onnxruntime", "tensorflow"],
    "auto",
  ),
  device: flag.oneOf("where models run; gpu ends the program where there is none", ["auto", "cpu", "gpu"], "auto"),
  libtensorflow: flag.text(
    "folder of libtensorflow (site-packages/tensorflow will do); else SHARDSERVE_LIBTENSORFLOW, else tfjs-node-gpu's",
    "DIR",
    "",
  ),
  gpuDevices: flag.text("GPUs to use, as CUDA counts them: 0,1; ONNX Runtime takes the first", "LIST", ""),
  gpuMemoryBytes: flag.bytes("most memory to take of each GPU; 0 = all", 0),
  perProcessGpuMemoryFraction: flag.number("share of each GPU's memory to take; TensorFlow only; 0 = all", 0, 1, 0),
  gpuAllowGrowth: flag.bool("take GPU memory as it is needed instead of at once; TensorFlow only", true),
  intraOpThreads: flag.int("threads of the engine; 0 = all cores", 0, 1024, 0),
  tensorflowIntraOpParallelism: flag.int("the same, by TensorFlow Serving's name", 0, 1024, 0),
  tensorflowSessionParallelism: flag.int("the same, by TensorFlow Serving's other name", 0, 1024, 0),
  tensorflowInterOpParallelism: flag.int("ops that TensorFlow runs side by side; 0 = all cores", 0, 1024, 0),
};

export type EngineFlags = Readonly<FlagValues<typeof ENGINE_FLAGS>>;

/** What loaders of models get. */
export interface Engines {
  readonly ort: Ort;
  readonly tensorFlow: TensorFlow | undefined;
  readonly engine: EngineChoice;
  /** How loads give way; follows the requests of the server that loads for. */
  readonly pace: TrafficPace;
}

/**
 * Loads the engines that the operator allows; once per process.
 *
 * @throws ServingError CONFIG_INVALID when threads are given twice; DEPENDENCY_MISSING when a library or GPU that was asked
 *   for is not there
 */
export async function openEngines(
  flags: EngineFlags,
  environment: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): Promise<Engines> {
  const threads = threadsOf(flags);
  const pace = new TrafficPace();
  const libraryPath = environment["SHARDSERVE_ORT"];
  const ort = loadOrt({ intraOpThreads: threads, ...(libraryPath && { libraryPath }) });
  const { tensorFlow, problem } = await openTensorFlow(flags, environment, threads, logger);
  if (flags.device === "cpu" || flags.engine === "tensorflow" || tensorFlow?.hasGpu) {
    return { ort, tensorFlow, engine: flags.engine, pace };
  }
  await findOrtGpu(ort, flags, problem ?? (tensorFlow && "TensorFlow shows none"), logger);
  return { ort, tensorFlow, engine: flags.engine, pace };
}

function threadsOf(flags: EngineFlags): number {
  const given = [flags.intraOpThreads, flags.tensorflowIntraOpParallelism, flags.tensorflowSessionParallelism].filter(
    (threads) => threads > 0,
  );
  if (given.length <= 1) return given[0] ?? availableParallelism();
  throw new ServingError(
    "CONFIG_INVALID",
    "give one of --intra-op-threads, --tensorflow-intra-op-parallelism and --tensorflow-session-parallelism",
  );
}

/** @returns TensorFlow, or why it is not there where that is no failure */
async function openTensorFlow(
  flags: EngineFlags,
  environment: Readonly<Record<string, string | undefined>>,
  threads: number,
  logger: Logger,
): Promise<{ readonly tensorFlow: TensorFlow | undefined; readonly problem?: string }> {
  if (flags.engine === "onnxruntime") return { tensorFlow: undefined };
  const named = flags.libtensorflow || environment["SHARDSERVE_LIBTENSORFLOW"];
  const directory = named || installedTensorFlow();
  if (!directory) {
    if (flags.engine === "auto") return { tensorFlow: undefined, problem: "there is no libtensorflow" };
    throw new ServingError(
      "DEPENDENCY_MISSING",
      "--engine tensorflow: there is no libtensorflow. Give its folder with --libtensorflow, such as site-packages/tensorflow " +
        "of `pip install tensorflow`, or install @tensorflow/tfjs-node-gpu",
    );
  }
  try {
    // With auto, ONNX Runtime may have the GPU that TensorFlow does not see.
    const device = flags.device === "gpu" && flags.engine === "auto" ? "auto" : flags.device;
    const tensorFlow = await loadTensorFlow({
      directory,
      device,
      intraOpThreads: threads,
      interOpThreads: flags.tensorflowInterOpParallelism || availableParallelism(),
      gpu: {
        visibleDevices: flags.gpuDevices,
        isGrowthAllowed: flags.gpuAllowGrowth,
        ...(flags.perProcessGpuMemoryFraction > 0 && { memoryFraction: flags.perProcessGpuMemoryFraction }),
        ...(flags.gpuMemoryBytes > 0 && { memoryBytesMax: flags.gpuMemoryBytes }),
      },
    });
    const devices = tensorFlow.devices.map(({ type }) => type).join(", ");
    logger.info({ library: tensorFlow.libraryPath, devices }, `TensorFlow ${tensorFlow.version}: ${devices}`);
    return { tensorFlow };
  } catch (error) {
    if (named || flags.engine === "tensorflow") throw error;
    const problem = ServingError.from(error).message;
    logger.warn({ directory }, `libtensorflow is installed and cannot be used: ${problem}`);
    return { tensorFlow: undefined, problem };
  }
}

/** @param elsewhere  why the other engine has no GPU */
async function findOrtGpu(ort: Ort, flags: EngineFlags, elsewhere: string | undefined, logger: Logger): Promise<void> {
  const device = Number(flags.gpuDevices.split(",")[0] ?? 0);
  try {
    const options = { device, ...(flags.gpuMemoryBytes > 0 && { memoryBytesMax: flags.gpuMemoryBytes }) };
    // WebGPU has a GPU's speed and a browser's caution: it is there for who asks for a GPU.
    const providers = flags.device === "gpu" ? ORT_GPU_PROVIDERS : (["cuda"] as const);
    const { provider } = await ort.findGpu(providers, options);
    logger.info({ provider }, `ONNX Runtime ${ort.version}: GPU through ${provider}`);
  } catch (error) {
    if (flags.device === "auto") {
      logger.debug({}, ServingError.from(error).message);
      return;
    }
    const { code, message } = ServingError.from(error);
    throw new ServingError(
      code,
      `--device gpu: there is no GPU. ${elsewhere === undefined ? "" : `${elsewhere}. `}${message}`,
      { cause: error },
    );
  }
}
