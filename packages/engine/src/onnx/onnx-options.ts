import type { Clock, Logger } from "@shardserve/core";
import type { Ort } from "@shardserve/native";
import type { RowSource } from "@shardserve/rowstore";
import type { EngineLimits, LoadPace, ModelEngine } from "../load/options.js";

/** What loading an ONNX model needs. */
export interface LoadOnnxOptions {
  /** Version directory with a model.onnx, and the files of its external data if it has some. */
  readonly dir: string;
  readonly ort: Ort;
  /** Where the rows of sharded tables come from. Taken over: closed with the model, or when loading fails. */
  readonly rowSource?: RowSource | undefined;
  readonly limits?: Pick<EngineLimits, "concurrentRuns" | "waitingRuns"> | undefined;
  readonly pace?: LoadPace | undefined;
  readonly logger?: Logger | undefined;
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What every session of an ONNX model in a directory is opened with. */
export function onnxSessionOptions({ dir, ort, pace, signal }: LoadOnnxOptions) {
  const config = {
    "session.model_external_initializers_file_folder_path": dir,
    // It makes a Pad with zeros the padding of the MaxPool behind it, which counts as less than any value.
    "optimization.disable_specified_optimizers": "Pad_Fusion",
  };
  return { config, gpu: ort.gpu, isInBackground: pace?.isBusy ?? false, signal };
}

/** What an ONNX model runs on: there is no choice. */
export function onnxEngine(ort: Ort, form: ModelEngine["form"]): ModelEngine {
  const device = ort.gpu ? "gpu" : "cpu";
  return { name: "onnxruntime", library: `ONNX Runtime ${ort.version}`, device, form, why: "it is an ONNX model" };
}
